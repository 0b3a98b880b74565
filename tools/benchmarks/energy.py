"""The energy estimator against seeded battery gauges whose true energy is known, and live over adb.

A hundred gauges in simulated time: µA and mA, either sign, 0.5 to 2 s between refreshes, noise and
rounding; 30 s of idle, 45 s of inferences, 15 s of idle each. With --live also one virtual phone in
real time, with a noisy gauge at 1 Hz and the real runner. Prints each error beside its interval.
The same gauges with errors that resemble their neighbours (AR(1)), and behind a filter, show where
the estimator's assumptions end: figures without a limit. Raw results, versions and machine go into
--out as JSON. Everything is modelled.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from mobilesplit.cli.device_side import push_inputs
from mobilesplit.cli.samples import golden_input
from mobilesplit.core.statistics import median
from mobilesplit.device.bench import DirectedBench, Rule
from mobilesplit.device.connect import connect
from mobilesplit.device.energy.estimate import EnergyEstimate
from mobilesplit.device.energy.meter import EnergyMeter
from mobilesplit.device.energy.readings import RailReading
from mobilesplit.device.energy.sources import PolledSource, choose, find_sources
from mobilesplit.device.push import push_bundle
from mobilesplit.device.runner_build import build_host_runner
from mobilesplit.emulator.device_description import GaugeSettings, load_description
from mobilesplit.emulator.phones import start_phone, stop_phone
from mobilesplit.export.bundle import load_bundle
from mobilesplit.export.export import export_model
from mobilesplit.export.settings import ExportSettings
from mobilesplit.segment.model_source import load_model
from tests.device.energy.simulated_gauges import Outcome, correlated, measure, seeded_case, smoothed

ERROR_LIMIT = 0.05
COVERAGE_LIMIT = 0.9
IDLE_S, LOAD_S, AFTER_S = 30.0, 45.0, 15.0
NOISY = GaugeSettings(unit="mA", discharge_sign=1, period_s=1.0, noise_ma=8.0, step_ma=1.0)
CORRELATIONS = (0.3, 0.5, 0.8, 0.95)
SMOOTHINGS = (0.5, 0.8, 0.9)
_CHUNK_S = 5.0


def simulated(seeds: range) -> list[dict[str, Any]]:
    """Each seed's case, truth and estimate; a line each."""
    rows = []
    print("seed  phone          unit sign period  noise   true mJ      mJ  interval         error")
    for seed in seeds:
        case = seeded_case(seed)
        outcome = measure(case)
        gauge = case.gauge
        print(
            f"{seed:>4}  {case.phone:<14} {gauge.unit:<4} {gauge.discharge_sign:>+4} "
            f"{gauge.period_s:>4.1f} s {gauge.noise_ma:>3.1f} mA {said(outcome)}"
        )
        rows.append({
            "case": {
                **asdict(case), "power": case.power.model_dump(),
                "battery": case.battery.model_dump(), "gauge": gauge.model_dump(),
            },
            **result(outcome),
        })  # fmt: skip
    return rows


def strayed(seeds: range) -> list[dict[str, Any]]:
    """The seeds' gauges with an error or a filter that the declared ones have not."""
    rows = []
    print("gauge                 stated  covered  half width, median  error, median  largest")
    for what, change, shares in (
        ("error AR(1)", correlated, CORRELATIONS),
        ("filtered", smoothed, SMOOTHINGS),
    ):
        for share in shares:
            outcomes = [measure(change(seeded_case(seed), share)) for seed in seeds]
            stated = [o for o in outcomes if o.estimate.energy_valid]
            row = {
                "gauge": what,
                "share_of_the_refresh_before": share,
                "cases": len(outcomes),
                "stated": len(stated),
                "covered": sum(o.covers for o in stated),
                "median_half_width": median([half_width(o) for o in stated]),
                "median_error": median([abs(o.error) for o in stated]),
                "largest_error": max(abs(o.error) for o in stated),
            }
            rows.append(row)
            print(
                f"{what:<12} {share:>4}  {row['stated']:>6} of {len(outcomes):<4} "
                f"{row['covered']:>4} {row['median_half_width']:>14.1%} "
                f"{row['median_error']:>14.2%} {row['largest_error']:>8.1%}"
            )
    return rows


def half_width(outcome: Outcome) -> float:
    """Of the interval, as a share of the energy."""
    found = outcome.estimate
    assert found.energy_mj and found.low_mj is not None and found.high_mj is not None
    return (found.high_mj - found.low_mj) / 2 / found.energy_mj


def said(outcome: Outcome) -> str:
    """The truth, the estimate, the error."""
    found = outcome.estimate
    if found.energy_mj is None:
        return f"{outcome.true_mj:>9.1f}  {found.verdict}: {found.why}"
    interval = f"{found.low_mj:.1f}..{found.high_mj:.1f}"
    return (
        f"{outcome.true_mj:>9.1f} {found.energy_mj:>7.1f}  {interval:<16} "
        f"{outcome.error:+.2%}{'' if outcome.covers else '  NOT COVERED'}"
    )


def result(outcome: Outcome) -> dict[str, Any]:
    """For JSON."""
    error = outcome.error if outcome.estimate.energy_valid else None
    return {
        "true_mj": outcome.true_mj,
        "error": error,
        "covers": outcome.covers,
        "estimate": outcome.estimate.as_dict(),
    }


def live(model: str, folder: Path) -> tuple[Outcome, dict[str, Any]]:
    """One virtual phone in real time: its gauge against its rails, which are the power model.
    The outcome, and what was read."""
    export = export_model(
        load_model(model), out=folder / "bundle", settings=ExportSettings(max_cuts=2, codecs=())
    )
    bundle, runner = load_bundle(export.bundle.root), build_host_runner()
    description = load_description("midrange-2021")
    sources = {**description.sources, "gauge": "Declared for this benchmark."}
    description = description.model_copy(update={"gauge": NOISY, "sources": sources})
    with ExitStack() as stack:
        name = f"bench-energy-{os.getpid()}"
        phones = folder / "phones"
        serial = start_phone(
            description,
            name=name,
            allowed_programs={runner.sha256: list(runner.argv)},
            state_root=phones,
            seed=1,
            exit_with_parent=True,
        ).serial
        stack.callback(stop_phone, name, phones)
        device = stack.enter_context(connect(serial))
        found = find_sources(device)
        gauge, rails = choose(found, "battery"), choose(found, "rails")
        assert gauge is not None and isinstance(rails, PolledSource)
        inputs = push_inputs(device, golden_input(bundle).arrays)
        pushed = push_bundle(device, bundle, runner.path)
        bench = stack.enter_context(DirectedBench(device, pushed, inputs=inputs))
        method = bundle.manifest.cuts[-1].method
        assert method is not None
        bench.load("head", [method])
        bench.run("head", "warmup", Rule(3))
        with EnergyMeter(device, lambda: connect(serial), gauge, kind="modelled") as meter:
            print(f"live: idle for {IDLE_S:g} s", file=sys.stderr)
            meter.baseline(IDLE_S)
            with meter.load() as load:
                print(f"live: inferences for {LOAD_S:g} s", file=sys.stderr)
                before = rails.read(device)
                while load.lasted_s < LOAD_S:
                    runs = bench.run("head", "energy", Rule(1, _CHUNK_S, _CHUNK_S))
                    load.add(len(runs.latency_ms), runs.elapsed_ms / 1e3)
                after = rails.read(device)
            print(f"live: idle for {AFTER_S:g} s", file=sys.stderr)
            meter.baseline(AFTER_S)
        estimate: EnergyEstimate = meter.estimate(load)
    assert isinstance(before, RailReading) and isinstance(after, RailReading)
    idle_mj = description.power.idle_w * (after.counted_s - before.counted_s) * 1e3
    true_mj = (after.total_mj - before.total_mj - idle_mj) / load.inferences
    raw = {
        "baselines": meter.baselines,
        "load": (load.started_s, load.ended_s),
        "progress": load.progress,
        "readings": [asdict(reading) for reading in meter.readings()],
    }
    return Outcome(true_mj, estimate), raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gauges", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--live", action="store_true", help="also one virtual phone, 100 s")
    parser.add_argument("--model", default="efficientnet-lite0", help="what --live runs")
    parser.add_argument("--out", type=Path, default=Path("bench-energy.json"))
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.gauges)
    rows = simulated(seeds)
    within = sum(row["error"] is not None and abs(row["error"]) <= ERROR_LIMIT for row in rows)
    covered = sum(row["covers"] for row in rows)
    kept = within == len(rows) and covered >= COVERAGE_LIMIT * len(rows)
    print(f"within {ERROR_LIMIT:.0%}: {within} of {len(rows)}, limit all")
    print(f"interval covers the truth: {covered} of {len(rows)}, limit {COVERAGE_LIMIT:.0%}")
    document: dict[str, Any] = {
        "modelled": rows,
        "beyond_the_declared_gauges": strayed(seeds),
        "versions": {"mobilesplit": version("mobilesplit"), "python": platform.python_version()},
        "machine": {"cores": os.cpu_count(), "machine": platform.machine()},
    }
    if arguments.live:
        with tempfile.TemporaryDirectory() as scratch:
            outcome, raw = live(arguments.model, Path(scratch))
        print(f"live, {outcome.estimate.inferences} inferences: {said(outcome)}")
        kept = kept and outcome.estimate.energy_valid and abs(outcome.error) <= ERROR_LIMIT
        document["live"] = {**result(outcome), **raw}
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print("kept" if kept else "MISSED")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
