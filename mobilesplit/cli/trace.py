"""`mobilesplit trace`: a model's cuts, verified, nothing written."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import human_bytes, print_json, print_table, single_step
from mobilesplit.cli.models import build_model


def trace(
    model: Annotated[str, typer.Argument(help="A name of `mobilesplit models`, or FILE.py:build.")],
    max_cuts: Annotated[int, typer.Option(min=2, help="Keep at most so many cuts.")] = 16,
    every: Annotated[bool, typer.Option("--all", help="List every cut there is.")] = False,
    weights: options.Weights = None,
    as_json: options.Json = False,
) -> None:
    """Trace a model with torch.export and list the cuts worth having.

    Each is checked: head, then tail, against the whole model.
    """
    with single_step("trace", quiet=as_json) as step:
        step.note("loading torch")
        from mobilesplit.segment.cuts import find_cuts
        from mobilesplit.segment.trace import trace as trace_module
        from mobilesplit.segment.verify import verify

        loaded = build_model(model, weights)
        step.note("torch.export")
        graph = trace_module(loaded.module, loaded.example_inputs)
        cuts = find_cuts(graph, max_cuts=max_cuts, every=every)
        step.note(f"verifying {len(cuts)} cuts")
        errors = verify(graph, cuts)
    if as_json:
        rows = [
            {**cut.model_dump(), "boundary_nbytes": cut.boundary_nbytes,
             "device_share": cut.device_share, "max_abs_error": errors[cut.id]}
            for cut in cuts
        ]  # fmt: skip
        print_json(json.dumps({"model": loaded.name, "cuts": rows}, indent=2))
        return
    print_table(
        f"Cuts of {loaded.name} ({cuts[0].tail_flops / 1e9:.2f} GFLOP, weights {loaded.weights})",
        ("cut", "boundary", "tensors", "bytes", "work on device", "max error"),
        [
            (
                cut.id,
                " ".join("x".join(map(str, spec.shape)) for spec in cut.boundary),
                str(len(cut.boundary)),
                human_bytes(cut.boundary_nbytes),
                f"{cut.device_share:.1%}",
                f"{errors[cut.id]:.1g}",
            )
            for cut in cuts
        ],
    )
