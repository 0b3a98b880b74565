"""Export against one plain lowering of the whole model; composed heads against fused ones.

Both sides of every ratio come from this run: wall time and memory from fresh processes in turns,
head latency from interleaved runs of the C++ runner on one program and on the other. Everything
is held to two cores. Prints one JSON document with limits, raw samples, versions and the machine.
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
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIMITS = {
    "export_time_ratio": 1.5, "size_ratio": 1.02, "re_export_s": 3.0, "head_latency_ratio": 1.03,
}  # fmt: skip
_CORES = 2
_MEMORY_PER_PROCESS = 2e9
"""Of each process that lowers, beside three times the model."""
_MEMORY_EVERY_S = 0.2


def plain(model: str, out: Path) -> dict[str, Any]:
    """What anyone would write: strict=False export, lowering, one .pte of the whole model."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from mobilesplit.segment.model_source import load_model

    loaded = load_model(model)
    started = time.perf_counter()
    program = torch.export.export(loaded.module, loaded.example_inputs, strict=False)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    buffer = lowered.to_executorch().buffer
    seconds = time.perf_counter() - started
    out.write_bytes(buffer)
    return {"seconds": seconds, "nbytes": len(buffer)}


def ours(model: str, out: Path) -> dict[str, Any]:
    """`mobilesplit export`: all heads, stages, encoders, tails, verified and written."""
    # Imported in front of the clock on both sides.
    import executorch.backends.xnnpack.partition.xnnpack_partitioner  # noqa: F401

    from mobilesplit.export.bundle import load_bundle
    from mobilesplit.export.export import export_model
    from mobilesplit.segment.model_source import load_model

    loaded = load_model(model)
    weights = [*loaded.module.parameters(), *loaded.module.buffers()]
    started = time.perf_counter()
    outcome = export_model(loaded, out=out)
    seconds = time.perf_counter() - started
    manifest = load_bundle(outcome.bundle.root).manifest
    assert manifest.program is not None
    return {
        "seconds": seconds,
        "cached": outcome.cached,
        "cuts": [entry.model_dump(mode="json", exclude={"cut"}) | {
            "cut": entry.cut.id, "boundary_nbytes": entry.cut.boundary_nbytes,
            "boundary_tensors": len(entry.cut.boundary),
            "device_share": entry.cut.device_share,
        } for entry in manifest.cuts],
        "left_out": manifest.left_out,
        "notices": manifest.notices,
        "nbytes": outcome.bundle.path(manifest.program).stat().st_size,
        "model_nbytes": sum(weight.nbytes for weight in weights),
    }  # fmt: skip


def fused(model: str, out: Path) -> dict[str, Any]:
    """Every head of the bundle beside ``out`` exported alone, as a program of its own."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from mobilesplit.export.bundle import load_bundle
    from mobilesplit.segment import split
    from mobilesplit.segment.fold import fold_batch_norms
    from mobilesplit.segment.model_source import load_model
    from mobilesplit.segment.quiet import quiet
    from mobilesplit.segment.trace import trace

    manifest = load_bundle(out).manifest
    loaded = load_model(model)
    with quiet():
        graph = fold_batch_norms(trace(loaded.module, loaded.example_inputs))
        for entry in manifest.cuts[1:]:
            head = split.head(graph, entry.cut)
            with torch.no_grad():
                program = torch.export.export(head, loaded.example_inputs, strict=False)
            lowered = to_edge_transform_and_lower(
                {entry.method: program}, partitioner={entry.method: [XnnpackPartitioner()]}
            )
            path = out.parent / f"{entry.method}.pte"
            path.write_bytes(lowered.to_executorch().buffer)
            print(f"{entry.cut.id} exported alone", file=sys.stderr)
    for index, tensor in enumerate(loaded.example_inputs):
        (out.parent / f"input{index}.bin").write_bytes(tensor.numpy().tobytes())
    return {"inputs": len(loaded.example_inputs)}


ACTIONS: dict[str, Callable[[str, Path], dict[str, Any]]] = {
    "plain": plain, "ours": ours, "fused": fused,
}  # fmt: skip


def in_process(action: str, model: str, out: Path, cache: Path) -> dict[str, Any]:
    """Run an action in a fresh process: its answer, with wall time and the tree's peak memory."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, __file__, "--model", model, "--action", action, "--out", str(out)],
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
            stdout=said,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree_nbytes(process.pid))
            time.sleep(_MEMORY_EVERY_S)
        if process.returncode:
            raise SystemExit(f"{action} of {model} failed.")
        said.seek(0)
        answer = json.loads(said.read())
    return {**answer, "process_s": time.perf_counter() - started, "peak_nbytes": peak}


def tree_nbytes(pid: int) -> int:
    """Proportional set size of a process and all below it; 0 for one that has just ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return own * 1024 + sum(tree_nbytes(int(child)) for child in children)


def latency(
    runner: list[str], program: Path, method: str, inputs: int, *, threads: int, runs: int
) -> list[float]:
    """Samples of one head in ms, by the runner's own clock."""
    words = [*runner, "bench", "--program", str(program), "--methods", method]
    for index in range(inputs):
        words += ["--input", str(program.parent / f"input{index}.bin")]
    words += ["--threads", str(threads), "--warmup-runs", "2", "--min-runs", str(runs)]
    words += ["--min-s", "0", "--max-s", "120"]
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    events = [json.loads(line) for line in said.stdout.splitlines()]
    samples = (e for e in events if e["event"] == "sample" and e["phase"] == "measure")
    return [sum(sample["latency_ms"]) for sample in samples]


def compare_heads(
    folder: Path, cuts: list[dict[str, Any]], inputs: int, *, threads: int, rounds: int, runs: int
) -> list[dict[str, Any]]:
    """Each head of the bundle and alone, in turns: which goes first changes every round."""
    from mobilesplit.device.runner_build import build_host_runner

    runner = build_host_runner()
    if runner.kind != "cpp":
        raise SystemExit(f"There is no C++ runner: {runner.why}")
    bundled = folder / "heads.pte"
    bundled.write_bytes((folder / "bundle" / "heads.pte").read_bytes())
    rows = []
    for cut in cuts[1:]:
        alone = folder / f"{cut['method']}.pte"
        samples: dict[str, list[list[float]]] = {"in_bundle": [], "alone": []}
        for index in range(rounds):
            sides = [("in_bundle", bundled), ("alone", alone)]
            for side, program in sides if index % 2 else reversed(sides):
                samples[side].append(
                    latency(
                        list(runner.argv), program, cut["method"], inputs,
                        threads=threads, runs=runs,
                    )
                )  # fmt: skip
        medians = {
            side: statistics.median(x for one in lists for x in one)
            for side, lists in samples.items()
        }
        ratio = medians["in_bundle"] / medians["alone"]
        by_round = sorted(
            statistics.median(one) / statistics.median(other)
            for one, other in zip(samples["in_bundle"], samples["alone"], strict=True)
        )
        rows.append({
            "cut": cut["cut"], "fused": cut["fused"], "threads": threads, "ratio": ratio,
            "median_ratio_of_rounds": statistics.median(by_round), "median_ms": medians,
            "raw_ms": samples,
        })  # fmt: skip
        print(
            f"{cut['cut']:>45} {'fused' if cut['fused'] else 'composed':>8} x{threads}"
            f" {medians['in_bundle']:8.2f} ms, alone {medians['alone']:8.2f} ms, ratio {ratio:.3f}"
            f" (of rounds {statistics.median(by_round):.3f})",
            file=sys.stderr,
        )
    return rows


def report(name: str, value: float, limit: float) -> bool:
    """Print a figure beside its limit; whether it is kept."""
    kept = value <= limit
    print(f"{name}: {value:.3f}, limit {limit:g}: {'kept' if kept else 'MISSED'}", file=sys.stderr)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="regnet-y-040")
    parser.add_argument("--repeats", type=int, default=3, help="exports of either side, in turns")
    parser.add_argument("--rounds", type=int, default=16, help="of each head's comparison")
    parser.add_argument("--runs", type=int, default=12, help="inferences of one round and side")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--no-heads", action="store_true", help="leave out the heads' latency")
    parser.add_argument("--action", choices=ACTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.action:
        answer = ACTIONS[arguments.action](arguments.model, arguments.out)
        print(json.dumps(answer))
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    load = os.getloadavg()[0]
    model = arguments.model
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plains, exports = [], []
        for index in range(arguments.repeats):
            cache = folder / f"cache{index}"
            sides = [("plain", "whole.pte", plains), ("ours", "bundle", exports)]
            for action, name, answers in sides if index % 2 else reversed(sides):
                answers.append(in_process(action, model, folder / name, cache))
            assert not exports[-1]["cached"]
            print(f"plain {plains[-1]['seconds']:.1f} s, export {exports[-1]['seconds']:.1f} s",
                  file=sys.stderr)  # fmt: skip
        again = [
            in_process("ours", model, folder / "bundle", cache) for _ in range(arguments.repeats)
        ]
        assert all(one["cached"] for one in again)
        heads = []
        if not arguments.no_heads:
            inputs = in_process("fused", model, folder / "bundle", cache)["inputs"]
            for threads in arguments.threads:
                heads += compare_heads(
                    folder, exports[-1]["cuts"], inputs,
                    threads=threads, rounds=arguments.rounds, runs=arguments.runs,
                )  # fmt: skip
    figures = {
        "export_time_ratio": statistics.median(one["seconds"] for one in exports)
        / statistics.median(one["seconds"] for one in plains),
        "size_ratio": exports[-1]["nbytes"] / plains[-1]["nbytes"],
        "re_export_s": statistics.median(one["seconds"] for one in again),
    }
    if heads:
        figures["head_latency_ratio"] = max(row["median_ratio_of_rounds"] for row in heads)
    limits = dict(LIMITS)
    figures["peak_nbytes"] = max(one["peak_nbytes"] for one in exports)
    limits["peak_nbytes"] = 3 * exports[-1]["model_nbytes"] + _CORES * _MEMORY_PER_PROCESS
    print(json.dumps({
        "model": model,
        "measured": {n: {"value": v, "limit": limits[n]} for n, v in figures.items()},
        "plain": plains, "export": exports, "re_export": again, "heads": heads,
        "versions": {name: version(name) for name in ("mobilesplit", "torch", "executorch")},
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(),
                    "load": load},
    }, indent=2))  # fmt: skip
    kept = [report(name, value, limits[name]) for name, value in figures.items()]
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
