"""Tail stages as files: one ``torch.export`` archive for each pair of neighbouring cuts.

The rule: stage k takes boundary k's tensors and returns boundary k+1's, and holds the weights
of its own operators only, so all tails together are one copy of the model.
"""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from mobilesplit.core.cuts import Cut
from mobilesplit.segment import split
from mobilesplit.segment.trace import Graph, strip_provenance


def export_stages(graph: Graph, cuts: list[Cut]) -> list[ExportedProgram]:
    """The stages between neighbouring ``cuts`` as exported programs, batch 1."""
    programs = []
    values = graph.example_inputs
    for start, end in pairwise(cuts):
        piece = split.stage(graph, start, end)
        strip_provenance(piece.graph)
        with torch.no_grad():
            program = torch.export.export(piece, values, strict=False)
        strip_provenance(program.graph)
        programs.append(program)
        values = split.run(piece, values)
    return programs


def save_file(program: ExportedProgram, path: Path) -> None:
    """Write one stage. Load it with ``torch.export.load(path).module()``."""
    # Through memory: torch turns a full disk into a RuntimeError that does not say so.
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getbuffer())


def run_stages(programs: list[ExportedProgram], values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Boundary tensors through ``programs`` in order."""
    with torch.no_grad():
        for program in programs:
            values = tuple(program.module(check_guards=False)(*values))
    return values
