"""`mobilesplit export`: a model becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import human_bytes, print_json, print_table, single_step, stderr
from mobilesplit.cli.models import build_model


def export(
    model: Annotated[str, typer.Argument(help="A name of `mobilesplit models`, or FILE.py:build.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle (replaced).")],
    max_cuts: Annotated[int, typer.Option(min=2, max=64, help="Export at most so many cuts.")] = 10,
    backend: Annotated[
        Literal["xnnpack", "portable"], typer.Option(help="Delegate of the heads.")
    ] = "xnnpack",
    weights: options.Weights = None,
    as_json: options.Json = False,
) -> None:
    """Export every head into one ExecuTorch program, and the tails, as a verified bundle."""
    with single_step("export", quiet=as_json) as step:
        step.note("loading torch")
        from mobilesplit.export.export import export_model

        outcome = export_model(
            build_model(model, weights),
            out=out,
            max_cuts=max_cuts,
            backend=backend,
            progress=step.note,
        )
    manifest = outcome.bundle.manifest
    if as_json:
        print_json(manifest.save())
        return
    for cut_id, why in outcome.dropped:
        stderr.print(f"left out {cut_id}: {why}")
    program = outcome.bundle.path(manifest.program)
    print_table(
        f"{out}: {manifest.model}, {human_bytes(program.stat().st_size)} program,"
        f" {'from the cache' if outcome.cached else 'lowered and verified'}",
        ("cut", "method", "boundary", "work on device", "max error"),
        [
            (
                entry.cut.id,
                entry.method or "-",
                human_bytes(entry.cut.boundary_nbytes),
                f"{entry.cut.device_share:.1%}",
                f"{entry.max_abs_error:.1g}",
            )
            for entry in manifest.cuts
        ],
    )
