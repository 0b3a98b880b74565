"""Cut to head, tail and stages: GraphModules that share their parameters with the whole.

The rule: a piece is what its outputs need, traced back to the boundary it starts from; reaching
one of the model's inputs on the way means that the boundary does not divide the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, fx

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError
from mobilesplit.segment.trace import Graph, flat_tensors


def head(graph: Graph, cut: Cut) -> fx.GraphModule:
    """What runs on the device: the model's inputs in, ``cut.boundary`` out (a tuple).

    Raises:
        ModelError: the boundary is not of this graph.
    """
    return _piece(graph, graph.inputs, _values(graph, cut), "Head")


def tail(graph: Graph, cut: Cut) -> fx.GraphModule:
    """What runs in the cloud: ``cut.boundary`` in, the model's flat outputs out (a tuple).

    Raises:
        ModelError: the boundary does not divide the graph.
    """
    return _piece(graph, _values(graph, cut), graph.outputs, "Tail")


def stage(graph: Graph, start: Cut, end: Cut) -> fx.GraphModule:
    """What lies between two cuts: ``start.boundary`` in, ``end.boundary`` out (a tuple).

    Raises:
        ModelError: ``end`` needs something in front of ``start`` that does not cross it.
    """
    return _piece(graph, _values(graph, start), _values(graph, end), "Stage")


def chain(
    graph: Graph, cuts: Sequence[Cut], mark: Callable[[fx.Graph, fx.Node, int, int], fx.Node]
) -> fx.GraphModule:
    """The stages between ``cuts`` one after the other: the first's boundary in, the last's out.

    Args:
        mark: called with the new graph, a value that crosses ``cuts[i]``, ``i`` and the value's
            place in the boundary, for every inner cut; what it returns is what crosses.

    Raises:
        ModelError: as ``stage``.
    """
    boundaries = [_values(graph, cut) for cut in cuts]
    whole = fx.Graph()
    crossing = {value: _placeholder(whole, value) for value in boundaries[0]}
    for index, (starts, ends) in enumerate(pairwise(boundaries), 1):
        results = _copy_between(graph, starts, ends, whole, crossing)
        if index < len(cuts) - 1:
            results = [mark(whole, result, index, place) for place, result in enumerate(results)]
        crossing = dict(zip(ends, results, strict=True))
    whole.output(tuple(crossing.values()))
    return fx.GraphModule(graph.module, whole, "Chain")


def run(piece: fx.GraphModule, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs of a head, tail or stage, without gradients."""
    with torch.no_grad():
        return flat_tensors(piece(*inputs))


def _values(graph: Graph, cut: Cut) -> tuple[fx.Node, ...]:
    by_name = {node.name: node for node in (*graph.inputs, *graph.operators, *graph.outputs)}
    try:
        return tuple(by_name[spec.name] for spec in cut.boundary)
    except KeyError as error:
        raise ModelError(f"The cut {cut.id} is not of this graph: no value {error}.") from None


def _piece(
    graph: Graph, starts: tuple[fx.Node, ...], ends: tuple[fx.Node, ...], class_name: str
) -> fx.GraphModule:
    piece = fx.Graph()
    crossing = {value: _placeholder(piece, value) for value in starts}
    piece.output(tuple(_copy_between(graph, starts, ends, piece, crossing)))
    # GraphModule takes what the graph refers to from the whole: the same tensors, no copies.
    return fx.GraphModule(graph.module, piece, class_name)


def _placeholder(piece: fx.Graph, value: fx.Node) -> fx.Node:
    copy = piece.placeholder(value.name)
    copy.meta = dict(value.meta)
    return copy


def _copy_between(
    graph: Graph,
    starts: tuple[fx.Node, ...],
    ends: tuple[fx.Node, ...],
    piece: fx.Graph,
    crossing: dict[fx.Node, fx.Node],
) -> list[fx.Node]:
    """Append what lies between two boundaries to ``piece``; what stands for ``ends`` there."""
    needed = _needed(starts, ends)
    copies = dict(crossing)
    for node in graph.module.graph.nodes:
        if node in needed:
            if node.op == "placeholder":
                raise ModelError(f"A cut does not divide the graph: {node.name} passes it by.")
            copies[node] = piece.node_copy(node, lambda value: copies[value])
    return [_row_major(piece, value, copies[value]) for value in ends]


def _row_major(piece: fx.Graph, value: fx.Node, copy: fx.Node) -> fx.Node:
    """``copy``, or its row-major copy: bytes that cross a boundary are read in that order."""
    if value.meta["val"].is_contiguous():
        return copy
    row_major = piece.call_function(
        torch.ops.aten.clone.default, (copy,), {"memory_format": torch.contiguous_format}
    )
    row_major.meta["val"] = value.meta["val"].contiguous()
    return row_major


def _needed(starts: tuple[fx.Node, ...], ends: tuple[fx.Node, ...]) -> set[fx.Node]:
    """Everything behind ``starts`` that ``ends`` depend on."""
    given = set(starts)
    needed: set[fx.Node] = set()
    pending = [value for value in ends if value not in given]
    while pending:
        node = pending.pop()
        if node not in needed:
            needed.add(node)
            pending.extend(value for value in node.all_input_nodes if value not in given)
    return needed
