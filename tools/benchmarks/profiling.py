"""Profiling every cut in one pass: its time over the whole model's, its figures over heads alone.

Everything runs on one virtual phone that is not slowed, so this computer's noise is not multiplied.
Prints each figure beside its limit; raw samples, versions and machine go into --out as JSON. Also
measured: a declared slow-down, and two profiles of the same heads, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import itertools

from mobilesplit.cli.device_side import DeviceSide, measure_device
from mobilesplit.cli.samples import golden_input
from mobilesplit.core.manifest import Bundle
from mobilesplit.core.statistics import Interval, median
from mobilesplit.device.connect import connect
from mobilesplit.device.profiling.settings import ProfileSettings
from mobilesplit.device.push import push_bundle
from mobilesplit.device.runner_build import build_host_runner
from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import start_phone, stop_phone
from mobilesplit.export.bundle import load_bundle
from mobilesplit.export.export import export_model
from mobilesplit.export.settings import ExportSettings
from mobilesplit.segment.model_source import load_model

TIME_LIMIT = 1.5
AGREEMENT_LIMIT = 0.03
SLOWDOWN_LIMIT = 0.10
SLOWDOWN = 3.0


class Bench:
    """A bundle, and a folder for what comes of measuring it."""

    def __init__(self, bundle: Bundle, folder: Path, runs: int) -> None:
        self.bundle = bundle
        self._folder = folder
        self._runs = runs

    @contextmanager
    def phone(self, slowdown: float) -> Iterator[str]:
        """The serial of a virtual phone that is slowed so much."""
        runner = build_host_runner()
        description = load_description("flagship-2024").model_copy(
            update={"inference_slowdown": slowdown, "general_slowdown": 1.0}
        )
        name = f"bench-{os.getpid()}-{slowdown:g}"
        record = start_phone(
            description,
            name=name,
            allowed_programs={runner.sha256: list(runner.argv)},
            state_root=self._folder / "phones",
            exit_with_parent=True,
        )
        try:
            yield record.serial
        finally:
            stop_phone(name, self._folder / "phones")

    def profile(
        self, serial: str, cuts: list[str] | None = None, *, one_by_one: bool = False, seed: int = 0
    ) -> tuple[float, DeviceSide]:
        """Seconds, and what was measured, with exactly the same number of samples every time;
        half of them where heads are measured one by one, whose time is not compared."""
        runs = self._runs // 2 if one_by_one else self._runs
        settings = ProfileSettings(
            min_runs=runs,
            max_runs=runs,
            min_s=0,
            one_by_one=one_by_one,
            hold_state=False,
            energy="none",
            seed=seed,
        )
        with connect(serial) as device:
            pushed = push_bundle(device, self.bundle, build_host_runner().path)
            started_s = time.perf_counter()
            side = measure_device(
                device,
                self.bundle,
                pushed,
                golden_input(self.bundle),
                settings=settings,
                cut_ids=cuts,
                connect=lambda: connect(serial),
                journal_path=Path(tempfile.mkdtemp(dir=self._folder)) / "profile.jsonl",
                progress=lambda _: None,
            )
            return time.perf_counter() - started_s, side


def export(model: str, cuts: int, folder: Path) -> Bundle:
    outcome = export_model(
        load_model(model), out=folder, settings=ExportSettings(max_cuts=cuts, codecs=())
    )
    return load_bundle(outcome.bundle.root)


def medians(side: DeviceSide) -> dict[str, float]:
    return {cut: median(head.samples_ms) for cut, head in side.heads.items()}


def mean_of(some: dict[str, float], others: dict[str, float]) -> dict[str, float]:
    return {cut: (some[cut] + others[cut]) / 2 for cut in some}


def intervals(side: DeviceSide) -> dict[str, Interval | None]:
    return {cut: head.interval() for cut, head in side.heads.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="regnet-y-040")
    parser.add_argument("--cuts", type=int, default=16)
    parser.add_argument("--runs", type=int, default=100, help="samples of a head in each profile")
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        choices=range(2, 100),
        metavar="N",
        help="of all kinds of profile in turn",
    )
    parser.add_argument("--out", type=Path, default=Path("bench-profiling.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = export(arguments.model, arguments.cuts, Path(scratch) / "bundle")
        bench = Bench(bundle, Path(scratch), arguments.runs)
        results = measure(bench, arguments.rounds)
    results["versions"] = {name: version(name) for name in ("mobilesplit", "torch", "executorch")}
    results["machine"] = {"cores": os.cpu_count(), "processor": platform.machine()}
    arguments.out.write_text(json.dumps(results, indent=2))
    print(f"raw samples: {arguments.out}", file=sys.stderr)
    sys.exit(not all(check["kept"] for check in results["checks"]))


def measure(bench: Bench, rounds: int) -> dict[str, Any]:
    whole_s, pass_s = [], []
    together: list[dict[str, float]] = []
    alone: list[dict[str, float]] = []
    sides = []
    with bench.phone(1.0) as serial:
        for number in range(rounds):
            seconds, _ = bench.profile(serial, ["output"], seed=number)
            whole_s.append(seconds)
            # One pass, alone, alone, one pass: what drifts over the minute is in both alike.
            seconds, before = bench.profile(serial, seed=number)
            pass_s.append(seconds)
            first = medians(bench.profile(serial, one_by_one=True, seed=number)[1])
            second = medians(bench.profile(serial, one_by_one=True, seed=number + 100)[1])
            _, after = bench.profile(serial, seed=number + 100)
            sides += [before, after]
            together.append(mean_of(medians(before), medians(after)))
            alone.append(mean_of(first, second))
            print(
                f"round {number + 1}: whole model {whole_s[-1]:.1f} s, all cuts {pass_s[-1]:.1f} s",
                file=sys.stderr,
            )
    # The slower of the two phones tells what was declared over the other.
    with bench.phone(SLOWDOWN) as serial:
        slowed = medians(bench.profile(serial, ["output"])[1])["output"]
    with bench.phone(1.0) as serial:
        plain = medians(bench.profile(serial, ["output"])[1])["output"]
    checks = [
        check("time of all cuts over the whole model's", median_ratio(pass_s, whole_s), TIME_LIMIT),
        *agreement(together, alone),
        replication(sides),
        check(
            f"measured slow-down off the declared {SLOWDOWN:g}",
            abs(slowed / plain / SLOWDOWN - 1),
            SLOWDOWN_LIMIT,
        ),
    ]
    return {
        "checks": checks,
        "whole_s": whole_s,
        "all_cuts_s": pass_s,
        "one_pass_medians_ms": together,
        "one_by_one_medians_ms": alone,
        "intervals_ms": [intervals(side) for side in sides],
        "samples_ms": [
            {cut: head.samples_ms for cut, head in side.heads.items()} for side in sides
        ],
        "corrections": [
            {cut: vars(head.correction) for cut, head in side.heads.items() if head.correction}
            for side in sides
        ],
        "slowdown": {"declared": SLOWDOWN, "slowed_ms": slowed, "plain_ms": plain},
    }


def agreement(
    together: list[dict[str, float]], alone: list[dict[str, float]]
) -> list[dict[str, Any]]:
    """For every cut: one pass over alone, the median of the rounds."""
    checks = []
    for cut in together[0]:
        ratios = [a[cut] / b[cut] for a, b in zip(together, alone, strict=True)]
        checks.append(check(f"one pass off alone: {cut}", abs(median(ratios) - 1), AGREEMENT_LIMIT))
    return checks


def replication(sides: list[DeviceSide]) -> dict[str, Any]:
    """Share of heads and pairs of profiles whose intervals do not meet."""
    apart = total = 0
    for before, after in itertools.pairwise(sides):
        for cut, interval in intervals(before).items():
            other = intervals(after)[cut]
            total += 1
            apart += interval is None or other is None or not interval.meets(other)
    return check("heads whose intervals do not meet in the next profile", apart / total, 0.0)


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    return median([a / b for a, b in zip(numerators, denominators, strict=True)])


def check(what: str, figure: float, limit: float) -> dict[str, Any]:
    kept = figure <= limit
    print(f"{what}: {figure:.3f}, limit {limit:g}: {'kept' if kept else 'MISSED'}")
    return {"what": what, "figure": figure, "limit": limit, "kept": kept}


if __name__ == "__main__":
    main()
