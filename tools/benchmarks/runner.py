"""The runner against ExecuTorch's own runtime in process, and a session's way over adb.

The head's latency: rounds of the runner and of a small C++ program around `Module::execute`
(reference/), in turns, beside ExecuTorch's Python runtime on one torch thread, which is shown and
not limited. The session: its round trip less the head, to a virtual phone without a slow-down on
loopback. Prints one JSON document with limits, raw samples, versions and the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mobilesplit.core.manifest import Bundle, BundleCut
from mobilesplit.device.runner_build import Runner, build_host_runner

LIMITS = {"latency_ratio": 1.03, "round_trip_overhead_ms": 5.0}
BOUNDARY_NBYTES = 150_000
_WARMUP_RUNS = 10
_REFERENCE = Path(__file__).parent / "reference"


def export(model: str, out: Path) -> Bundle:
    """A bundle of few cuts; at once where the cache has it."""
    from mobilesplit.export.bundle import load_bundle
    from mobilesplit.export.export import export_model
    from mobilesplit.export.settings import ExportSettings
    from mobilesplit.segment.model_source import load_model

    export_model(load_model(model), out=out, settings=ExportSettings(max_cuts=7))
    return load_bundle(out)


def build_reference(folder: Path) -> Path:
    """The program of reference/, built against the SDK that the runner is built against."""
    import executorch

    cmake = str(Path(sys.executable).with_name("cmake"))
    sdk = Path(next(iter(executorch.__path__))) / "share" / "cmake"
    configure = [cmake, "-S", str(_REFERENCE), "-B", str(folder), f"-Dexecutorch_DIR={sdk}"]
    for command in ([*configure, "-DCMAKE_BUILD_TYPE=Release"], [cmake, "--build", str(folder)]):
        subprocess.run(command, check=True, stdout=sys.stderr)
    return folder / "reference"


def in_runner(
    runner: Runner, program: Path, method: str, inputs: list[str], threads: int, runs: int
) -> list[float]:
    """Samples in ms by `bench`."""
    words = [*runner.argv, "bench", "--program", str(program), "--methods", method]
    for path in inputs:
        words += ["--input", path]
    words += ["--threads", str(threads), "--warmup-runs", str(_WARMUP_RUNS)]
    words += ["--min-runs", str(runs), "--min-s", "0", "--max-s", "300"]
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    events = [json.loads(line) for line in said.stdout.splitlines()]
    samples = [e for e in events if e["event"] == "sample" and e["phase"] == "measure"]
    return [sample["latency_ms"][0] for sample in samples]


def in_reference(
    binary: Path, program: Path, method: str, inputs: list[str], threads: int, runs: int
) -> list[float]:
    """Samples in ms around `Module::execute`."""
    words = [str(binary), str(program), method, str(threads), str(_WARMUP_RUNS), str(runs)]
    said = subprocess.run(
        [*words, *inputs], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return [float(line) for line in said.stdout.split()]


def in_python(program: Path, method: str, inputs: list[str], threads: int, runs: int) -> None:
    """Print samples in ms of ExecuTorch's Python runtime; for a process of its own."""
    import time

    import torch
    from executorch.extension.pybindings import _C

    torch.set_num_threads(1)
    _C._unsafe_reset_threadpool(threads)
    loaded = _C._load_program(str(program))
    meta = loaded.method_meta(method)
    tensors = []
    for index, path in enumerate(inputs):
        shape = meta.input_tensor_meta(index).sizes()
        tensors.append(torch.from_numpy(np.fromfile(path, np.float32).reshape(shape)))
    runnable = loaded.load_method(method)
    for run in range(_WARMUP_RUNS + runs):
        started = time.perf_counter()
        runnable(tensors)
        took_ms = (time.perf_counter() - started) * 1e3
        if run >= _WARMUP_RUNS:
            print(took_ms)


def compare(sides: dict[str, Callable[[], list[float]]], rounds: int) -> dict[str, Any]:
    """Each side in every round, in an order that turns; the ratios of the runner to each other."""
    samples: dict[str, list[list[float]]] = {name: [] for name in sides}
    for index in range(rounds):
        names = list(sides)
        for name in names if index % 2 else reversed(names):
            samples[name].append(sides[name]())
    medians = {
        name: statistics.median(ms for one in lists for ms in one)
        for name, lists in samples.items()
    }
    by_round = {name: [statistics.median(one) for one in lists] for name, lists in samples.items()}
    ratios = {
        name: [ours / theirs for ours, theirs in zip(by_round["runner"], others, strict=True)]
        for name, others in by_round.items()
        if name != "runner"
    }
    return {"median_ms": medians, "ratio_by_round": ratios, "raw_ms": samples}


def round_trips(
    bundle: Bundle, runner: Runner, entry: BundleCut, inputs: tuple[np.ndarray, ...], runs: int
) -> dict[str, list[float]]:
    """Per request over adb: the whole round trip and the head alone, in ms."""
    from mobilesplit.device.connect import connect
    from mobilesplit.device.push import push_bundle
    from mobilesplit.device.runner import RunnerSession
    from mobilesplit.emulator.device_description import load_description
    from mobilesplit.emulator.phones import start_phone, stop_phone

    assert entry.method is not None
    description = load_description("flagship-2024").model_copy(update={"inference_slowdown": 1.0})
    answers = []
    with tempfile.TemporaryDirectory() as state:
        phone = start_phone(
            description, name="bench-runner", allowed_programs={runner.sha256: list(runner.argv)},
            state_root=Path(state), exit_with_parent=True,
        )  # fmt: skip
        try:
            with connect(phone.serial) as device:
                pushed = push_bundle(device, bundle, runner.path)
                with RunnerSession.open(device, pushed) as session:
                    for run in range(_WARMUP_RUNS + runs):
                        answer = session.run_head(entry.method, inputs)
                        if run >= _WARMUP_RUNS:
                            answers.append(answer)
        finally:
            stop_phone(phone.name, Path(state))
    return {
        "round_trip_ms": [answer.round_trip_ms for answer in answers],
        "head_ms": [answer.head_ms for answer in answers],
    }


def report(name: str, value: float, limit: float) -> bool:
    """Print a figure beside its limit; whether it is kept."""
    kept = value <= limit
    print(f"{name}: {value:.3f}, limit {limit:g}: {'kept' if kept else 'MISSED'}", file=sys.stderr)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--runs", type=int, default=60, help="inferences of a round and side")
    parser.add_argument("--requests", type=int, default=300, help="of the session")
    parser.add_argument("--in-python", nargs="+", metavar="WORD", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    threads, runs = arguments.threads, arguments.runs
    if arguments.in_python:
        program, method, *inputs = arguments.in_python
        in_python(Path(program), method, inputs, threads, runs)
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = export(arguments.model, folder / "bundle")
        runner = build_host_runner()
        if runner.kind != "cpp":
            raise SystemExit(f"There is no C++ runner: {runner.why}")
        assert bundle.manifest.program is not None
        program = bundle.path(bundle.manifest.program)
        specs = bundle.manifest.cuts[0].cut.boundary
        random = np.random.default_rng(0)
        arrays = tuple(random.standard_normal(spec.shape, np.float32) for spec in specs)
        inputs = [str(folder / f"input{index}.bin") for index in range(len(arrays))]
        for path, array in zip(inputs, arrays, strict=True):
            array.tofile(path)
        entry = min(
            (entry for entry in bundle.manifest.cuts[1:] if entry.method is not None),
            key=lambda entry: abs(entry.cut.boundary_nbytes - BOUNDARY_NBYTES),
        )
        method = str(entry.method)
        reference = build_reference(folder / "reference")
        again = [sys.executable, __file__, "--threads", str(threads), "--runs", str(runs)]

        def python() -> list[float]:
            said = subprocess.run(
                [*again, "--in-python", str(program), method, *inputs],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
            )  # fmt: skip
            return [float(line) for line in said.stdout.split()]

        latency = compare(
            {
                "runner": lambda: in_runner(runner, program, method, inputs, threads, runs),
                "reference": lambda: in_reference(
                    reference, program, method, inputs, threads, runs
                ),
                "python": python,
            },
            arguments.rounds,
        )
        session = round_trips(bundle, runner, entry, arrays, arguments.requests)
    overheads = sorted(
        trip - head for trip, head in zip(session["round_trip_ms"], session["head_ms"], strict=True)
    )
    figures = {
        "latency_ratio": statistics.median(latency["ratio_by_round"]["reference"]),
        "round_trip_overhead_ms": statistics.median(overheads),
    }
    print(json.dumps({
        "model": arguments.model, "cut": entry.cut.id, "threads": threads,
        "input_nbytes": sum(array.nbytes for array in arrays),
        "boundary_nbytes": entry.cut.boundary_nbytes,
        "measured": {n: {"value": v, "limit": LIMITS[n]} for n, v in figures.items()},
        "latency": latency, "session": session,
        "versions": {name: version(name) for name in ("mobilesplit", "torch", "executorch")},
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "load": load},
    }, indent=2))  # fmt: skip
    for name, ms in latency["median_ms"].items():
        ratios = latency["ratio_by_round"].get(name, [])
        said = " ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"{name:>10}: median {ms:.3f} ms" + (f", runner over it by round: {said}" if said
              else ""), file=sys.stderr)  # fmt: skip
    p95 = overheads[int(0.95 * (len(overheads) - 1))]
    print(f"session at {entry.cut.id}: {entry.cut.boundary_nbytes} B back, p95 over the head"
          f" {p95:.3f} ms", file=sys.stderr)  # fmt: skip
    kept = [report(name, value, LIMITS[name]) for name, value in figures.items()]
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
