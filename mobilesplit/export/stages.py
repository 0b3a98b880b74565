"""Tail stages as files: one ``torch.export`` archive for each pair of neighbouring cuts.

The rule: stage k takes boundary k's tensors and returns boundary k+1's, and holds the weights
of its own operators only, so all tails together are one copy of the model. Where the model
allows it a stage takes 1 to 64 rows; what it makes of a row does not depend on the others.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError
from mobilesplit.segment import split
from mobilesplit.segment.batched import (
    MAX_BATCH,
    Batching,
    batch_one_only,
    copy_to_row_major,
    different_rows,
    dynamic_shapes,
    follow_batch,
    free_stage,
    obstacle,
)
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph, strip_provenance
from mobilesplit.segment.verify import max_relative_error


@dataclass(frozen=True)
class Tails:
    """The stages between neighbouring cuts, as exported programs."""

    programs: list[ExportedProgram]
    """In order; each takes a boundary and returns the next one."""
    max_batch: int
    """They take 1 to so many rows."""
    notice: str | None
    """Why they take one row only; None where they take more."""


def export_tails(
    module: nn.Module, traced: Graph, graph: Graph, cuts: list[Cut], *, tolerance: float = 1e-3
) -> Tails:
    """The stages between ``cuts`` for any batch, or for batch 1 where ``module`` allows no other.

    Args:
        module: the model.
        traced: what ``trace`` made of it.
        graph: the same with batch norms folded, or ``traced`` itself: what the cuts are of.
        tolerance: largest difference that a batch may make to its rows, as a share of the peak.
    """
    try:
        return _free_tails(graph, cuts, follow_batch(traced, module), tolerance)
    except ModelError as why:
        return Tails(export_stages(graph, cuts), 1, str(why))


def export_stages(graph: Graph, cuts: list[Cut]) -> list[ExportedProgram]:
    """The stages between neighbouring ``cuts`` as exported programs, batch 1."""
    programs = []
    values = graph.example_inputs
    for start, end in pairwise(cuts):
        piece = split.stage(graph, start, end)
        try:
            with quiet(errors=True):
                programs.append(_export(piece, values))
                values = split.run(piece, values)
        except Exception as error:  # torch.export raises whatever its parts raise
            raise ModelError(
                f"The tail stage from {start.id} to {end.id} cannot be exported: {obstacle(error)}."
            ) from error
    return programs


def save_file(program: ExportedProgram, path: Path) -> None:
    """Write one stage. Load it with ``torch.export.load(path).module()``."""
    # Through memory: torch turns a full disk into a RuntimeError that does not say so.
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getbuffer())


def _export(
    piece: fx.GraphModule,
    values: tuple[Tensor, ...],
    shapes: tuple[dict[int, Any], ...] | None = None,
) -> ExportedProgram:
    strip_provenance(piece.graph)
    with torch.no_grad():
        program = torch.export.export(piece, values, dynamic_shapes=shapes, strict=False)
    strip_provenance(program.graph)
    # They would go into the file, several boundaries beside the weights.
    program.example_inputs = None
    return program


def _free_tails(graph: Graph, cuts: list[Cut], batching: Batching, tolerance: float) -> Tails:
    """The stages at a free batch, each run as exported: on a batch, and on one row of it.

    Raises:
        ModelError: a boundary does not follow the batch, torch.export does not take a stage, or
            a row comes out of a batch otherwise than alone.
    """
    programs = []
    batch = different_rows(graph.example_inputs)
    rows = [tuple(tensor[i : i + 1] for tensor in batch) for i in range(len(batch[0]))]
    first_row = graph.example_inputs
    for start, end in pairwise(cuts):
        piece = free_stage(graph, batching, start, end)
        program, (batch, first_row) = _export_and_run(
            piece, dynamic_shapes(batching, start), batch, first_row
        )
        programs.append(program)
        alone = split.stage(graph, start, end)
        rows = [split.run(alone, row) for row in rows]
        together = tuple(
            torch.cat(tensors, batching.dimension(spec.name))
            for spec, tensors in zip(end.boundary, zip(*rows, strict=True), strict=True)
        )
        error = max(max_relative_error(batch, together), max_relative_error(first_row, rows[0]))
        if not error <= tolerance:
            raise batch_one_only(f"at {end.id} a row in a batch differs by {error:.3g} from alone")
    return Tails(programs, MAX_BATCH, None)


def _export_and_run(
    piece: fx.GraphModule, shapes: tuple[dict[int, Any], ...], *inputs: tuple[Tensor, ...]
) -> tuple[ExportedProgram, list[tuple[Tensor, ...]]]:
    """``piece`` for any batch, and what it makes of each of ``inputs``."""
    while True:
        try:
            with quiet(errors=True):
                program = _export(piece, inputs[0], shapes)
                module = program.module(check_guards=False)
            outputs = [split.run(module, values) for values in inputs]
        except Exception as error:
            # As with the whole model: a stage that fails in any way is no stage for a batch.
            raise batch_one_only(obstacle(error)) from error
        # Rows that cross a boundary are row-major; whether they are shows at more than one.
        if not copy_to_row_major(piece, outputs[0]):
            return program, outputs
