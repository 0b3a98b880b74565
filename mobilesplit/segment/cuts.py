"""Graph to cuts: every place where dividing the model may be worth it.

The rule (docs/decisions, DESIGN "trace"): along a chain every deeper cut trades device work for
cloud work, so a cut is worth having if no other cut within 2 % of the model's work has a
smaller boundary. Parameters never count as boundary; inputs that the tail still needs do.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx

from mobilesplit.core.cuts import INPUT, OUTPUT, Cut
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.segment.trace import Graph, spec_of

_FREE = frozenset({
    "alias", "chunk", "clone", "contiguous", "detach", "dropout", "expand", "flatten", "getitem",
    "permute", "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "to",
    "transpose", "unbind", "unflatten", "unsqueeze", "view", "_unsafe_view",
})  # fmt: skip
"""Operators that only rearrange: a cut behind one is no better than the cut in front of it."""


@dataclass(frozen=True)
class _Place:
    """A candidate: the graph is divided behind operator ``position`` (-1: in front of all)."""

    position: int
    work: int
    boundary: tuple[TensorSpec, ...]
    nbytes: int


def find_cuts(
    graph: Graph,
    *,
    max_cuts: int = 16,
    slack: float = 0.02,
    max_boundary_tensors: int = 4,
    every: bool = False,
) -> list[Cut]:
    """The cuts worth having, ``input`` first and ``output`` last (these two always).

    Args:
        max_cuts: at most so many (at least 2), spread over the depth.
        slack: a cut is dropped if another one within this share of the model's work has a
            smaller boundary.
        max_boundary_tensors: a cut where more tensors cross is not considered.
        every: list every candidate, whatever its boundary; ``slack`` and ``max_cuts`` are unused.
    """
    places = list(_places(graph, max_boundary_tensors))
    if not every:
        places = _thin_out(_worth_having(places, slack), max_cuts)
    return _named(graph, places)


def _places(graph: Graph, max_boundary_tensors: int) -> Iterator[_Place]:
    """Candidates by depth: the ends, and behind every operator that works."""
    last_use = _last_uses(graph)
    # Models without a single operator that torch has a FLOP formula for are measured in operators.
    count_operators = graph.total_flops == 0
    yield _place(-1, 0, tuple(graph.inputs))
    live: dict[fx.Node, None] = dict.fromkeys(graph.inputs)  # a set that keeps its order
    work = 0
    final = len(graph.operators) - 1
    for position, node in enumerate(graph.operators):
        work += 1 if count_operators else graph.flops[node]
        live[node] = None
        live = {value: None for value in live if last_use.get(value, -1) > position}
        if position < final and _may_cut_behind(graph, position):
            specs = [spec_of(value) for value in live]
            if 0 < len(specs) <= max_boundary_tensors and None not in specs:
                yield _place(position, work, tuple(live))
    yield _place(final, work, graph.outputs)


def _place(position: int, work: int, values: tuple[fx.Node, ...]) -> _Place:
    boundary = tuple(spec for spec in map(spec_of, values) if spec is not None)
    return _Place(position, work, boundary, sum(spec.nbytes for spec in boundary))


def _last_uses(graph: Graph) -> dict[fx.Node, int]:
    """For every value the position of its last user; an output is used behind the end."""
    last_use: dict[fx.Node, int] = {}
    for position, node in enumerate(graph.operators):
        for value in node.all_input_nodes:
            last_use[value] = position
    last_use.update(dict.fromkeys(graph.outputs, len(graph.operators)))
    return last_use


def _may_cut_behind(graph: Graph, position: int) -> bool:
    """Behind the last part of an operator that does work."""
    node = graph.operators[position]
    if graph.operators[position + 1].target is operator.getitem:
        return False  # one of several results: wait for the last
    if node.target is operator.getitem:
        node = node.all_input_nodes[0]
    return _short_name(node) not in _FREE


def _short_name(node: fx.Node) -> str:
    """``aten.relu.default`` and ``aten.relu_.default`` are both ``relu``."""
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet)).removesuffix("_").removesuffix("_copy")


def _worth_having(places: list[_Place], slack: float) -> list[_Place]:
    """Both ends, and what no other place within ``slack`` of the work beats."""
    reach = slack * places[-1].work
    kept = [places[0]]
    for place in places[1:-1]:
        near = [other for other in places if abs(other.work - place.work) <= reach]
        if any(other.nbytes < place.nbytes for other in near):
            continue
        # conv, norm and activation have equal boundaries and (nearly) all the work is the
        # first one's: of such a run the last is taken, where the runtime has fused them.
        equals = [o for o in near if o.nbytes == place.nbytes and o.work == place.work]
        if place is equals[-1]:
            kept.append(place)
    return [*kept, places[-1]]


def _thin_out(places: list[_Place], max_cuts: int) -> list[_Place]:
    """At most ``max_cuts``: while too many, of the two closest in work the larger boundary goes."""
    kept = list(places)
    while len(kept) > max(2, max_cuts):
        gaps = [(kept[i + 1].work - kept[i].work, i) for i in range(len(kept) - 1)]
        _, first = min(gaps)
        second = first + 1
        if first == 0:
            del kept[second]
        elif second == len(kept) - 1 or kept[first].nbytes > kept[second].nbytes:
            del kept[first]
        else:
            del kept[second]
    return kept


def _named(graph: Graph, places: list[_Place]) -> list[Cut]:
    """Places as cuts with unique ids."""
    last_in_module: dict[str, int] = {}
    for position, node in enumerate(graph.operators):
        for path in _module_paths(node):
            last_in_module[path] = position
    flops_before = [0]
    for node in graph.operators:
        flops_before.append(flops_before[-1] + graph.flops[node])
    taken = {INPUT, OUTPUT}
    cuts = []
    for depth, place in enumerate(places):
        if depth == 0:
            name = INPUT
        elif depth == len(places) - 1:
            name = OUTPUT
        else:
            name = _unique(_id_of(graph, place.position, last_in_module), taken)
        head_flops = flops_before[place.position + 1]
        cuts.append(
            Cut(
                id=name,
                depth=depth,
                boundary=place.boundary,
                head_flops=head_flops,
                tail_flops=flops_before[-1] - head_flops,
            )
        )
    return cuts


def _id_of(graph: Graph, position: int, last_in_module: dict[str, int]) -> str:
    """The outermost module that the operator is the last of, else its own module, else itself."""
    node = graph.operators[position]
    while node.target is operator.getitem:
        node = node.all_input_nodes[0]
    paths = [path for path in _module_paths(node) if path]
    # What follows in a module without doing work (a view, dropout) does not keep it open.
    end = position
    while end + 1 < len(graph.operators) and _short_name(graph.operators[end + 1]) in _FREE:
        end += 1
    closed = [path for path in paths if position <= last_in_module[path] <= end]
    path = closed[0] if closed else paths[-1] if paths else node.name
    return ".".join(part.lstrip("_") or part for part in path.split("."))


def _module_paths(node: fx.Node) -> list[str]:
    """Paths of the modules that were running when the operator was traced, outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    # A module called several times is "path@1" from its second call on.
    return [str(entry[0]).split("@")[0] for entry in stack.values()]


def _unique(name: str, taken: set[str]) -> str:
    """``name``, or ``name.2``, ``name.3``..., whichever is free; it is taken then."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}.{count}"
    taken.add(candidate)
    return candidate
