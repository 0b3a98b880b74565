"""Marks at cuts that last through lowering: an operator that no pass knows and no delegate takes.

The rule: a mark returns its argument. What is lowered between two marks is a stage; once lowering
is done the marks are taken out again (`programs`).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from mobilesplit.core.cuts import Cut
from mobilesplit.segment import split
from mobilesplit.segment.trace import Graph, strip_provenance

_LIBRARY = torch.library.Library("mobilesplit", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "boundary(Tensor value, int cut, int place) -> Tensor"
)


@torch.library.impl(_LIBRARY, "boundary", "CompositeExplicitAutograd")
def _boundary(value: Tensor, cut: int, place: int) -> Tensor:
    return value.clone()


@torch.library.register_fake("mobilesplit::boundary", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _boundary_shape(value: Tensor, cut: int, place: int) -> Tensor:
    return torch.empty_like(value)


def export_marked(graph: Graph, cuts: Sequence[Cut], *, first_cut: int) -> ExportedProgram:
    """What lies between ``cuts[0]`` and ``cuts[-1]``, with a mark wherever an inner cut is.

    Args:
        first_cut: index of ``cuts[0]`` among all cuts; marks bear such indices.
    """
    operator = torch.ops.mobilesplit.boundary.default

    def mark(piece: fx.Graph, value: fx.Node, index: int, place: int) -> fx.Node:
        return piece.call_function(operator, (value, first_cut + index, place))

    piece = split.chain(graph, cuts, mark)
    strip_provenance(piece.graph)
    values = tuple(
        torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in cuts[0].boundary
    )
    with torch.no_grad():
        program = torch.export.export(piece, values, strict=False)
    strip_provenance(program.graph)
    return program


def is_mark(target: object) -> bool:
    """Whether a node with this target is a mark, before or after lowering to the edge dialect."""
    schema = getattr(target, "_schema", None)
    return getattr(schema, "name", "") == "mobilesplit::boundary"


def stages_of(graph: fx.Graph, inputs: Container[str], first: int) -> dict[fx.Node, int]:
    """The stage of every node: that behind the last mark in front of it, else ``first``.

    What depends on no input (a weight that is dequantized) is of the stage that first takes it.

    Args:
        inputs: names of the placeholders that are no weights.
    """
    stages: dict[fx.Node, int] = {}
    for node in graph.nodes:
        behind = [stages[value] for value in node.all_input_nodes if value in stages]
        if is_mark(node.target):
            behind.append(cast(int, node.args[1]))
        if behind or node.name in inputs:
            stages[node] = max(behind, default=first)
    for node in reversed(graph.nodes):
        if node not in stages:
            stages[node] = min((stages[user] for user in node.users), default=first)
    return stages
