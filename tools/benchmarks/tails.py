"""Latency of every tail by batch size, on a CPU or a CUDA device.

Prints one JSON document with raw samples, versions and the device; needs torch and the model's
packages only, so that it also runs where the rest of mobilesplit is not installed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from mobilesplit.core.cuts import OUTPUT
from mobilesplit.core.statistics import median
from mobilesplit.segment import split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.model_source import load_model
from mobilesplit.segment.trace import trace


def measure(
    piece: torch.nn.Module, inputs: list[torch.Tensor], *, warm_up_runs: int, runs: int
) -> list[float]:
    """Samples in ms, each until the device has finished."""
    samples = []
    with torch.inference_mode():
        for index in range(warm_up_runs + runs):
            started = time.perf_counter()
            piece(*inputs)
            if inputs[0].is_cuda:
                torch.cuda.synchronize()
            if index >= warm_up_runs:
                samples.append((time.perf_counter() - started) * 1e3)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--max-cuts", type=int, default=8)
    parser.add_argument("--threads", type=int, default=None, help="of torch on the CPU")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    loaded = load_model(arguments.model)
    rows: list[dict[str, Any]] = []
    for batch in arguments.batches:
        # A trace holds its shapes, so every batch size is traced anew.
        inputs = tuple(torch.cat([tensor] * batch) for tensor in loaded.example_inputs)
        graph = trace(loaded.module, inputs)
        for cut in find_cuts(graph, max_cuts=arguments.max_cuts):
            if cut.id == OUTPUT:
                continue
            tail = split.tail(graph, cut).to(arguments.device)
            boundary = [
                torch.randn(spec.shape, device=arguments.device, dtype=getattr(torch, spec.dtype))
                for spec in cut.boundary
            ]
            samples = measure(tail, boundary, warm_up_runs=10, runs=arguments.runs)
            rows.append({"cut": cut.id, "batch": batch, "tail_ms": samples})
            print(f"{cut.id:>12} x{batch:<4} {median(samples):8.3f} ms measured"
                  f" {median(samples) / batch:8.3f} ms a row", file=sys.stderr)  # fmt: skip
    cuda = arguments.device.startswith("cuda")
    print(
        json.dumps(
            {
                "model": loaded.name,
                "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
                "threads": torch.get_num_threads(),
                "versions": {"torch": torch.__version__, "python": platform.python_version()},
                "tails": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
