"""Graph to cuts: every place where dividing the model may be worth it.

The rule (docs/cuts.md): along a chain every deeper cut trades device work for cloud work, so a
cut is worth having if no other cut within 2 % of the model's work has a smaller boundary.
Parameters never count as boundary; inputs that the tail still needs do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import fx

from mobilesplit.core.cuts import INPUT, OUTPUT, Cut
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.segment.boundary import Boundaries
from mobilesplit.segment.operators import is_free, module_paths
from mobilesplit.segment.trace import Graph, spec_of
from mobilesplit.segment.worth import most_valuable

MAX_BOUNDARY_TENSORS = 4
"""Where more tensors cross, a cut is not considered unless asked for or every one is."""
_SLACK = 0.02
_UNCOUNTED_FLOPS = 1_000_000
"""Work of an operator in a model of which torch's counter counts none."""


@dataclass(frozen=True)
class FoundCuts:
    """The cuts worth having, and what was left out for its boundary."""

    cuts: list[Cut]
    """``input`` first, ``output`` last."""
    max_cuts: int
    """Most cuts that were asked for."""
    max_boundary_tensors: int | None
    """The limit that held; None if there was none."""
    num_over_limit: int
    """Places that it left out: more tensors cross there."""
    enough_tensors: int | None
    """The least limit under which there is a cut worth having, where this one left none."""

    @property
    def notice(self) -> str | None:
        """What to tell the user if only the two ends are left unasked, with the next step."""
        if len(self.cuts) > 2 or self.max_cuts == 2:
            return None
        if self.enough_tensors is not None:
            return (
                f"No worthwhile cut: at least {self.enough_tensors} tensors cross at every one "
                f"that there is, over the limit of {self.max_boundary_tensors}. "
                f"Allow them with --max-boundary-tensors {self.enough_tensors}."
            )
        return (
            "No worthwhile cut: nowhere between the ends is the boundary smaller than all those "
            "nearby. `mobilesplit trace MODEL --all` lists every place."
        )


@dataclass(frozen=True)
class _Place:
    """A candidate: the graph is divided behind operator ``position`` (-1: in front of all)."""

    position: int
    work: int
    boundary: tuple[TensorSpec, ...]
    nbytes: int
    id: str = ""
    """Given once all places are known."""


def find_cuts(
    graph: Graph,
    *,
    max_cuts: int = 16,
    slack: float = _SLACK,
    max_boundary_tensors: int | None = None,
    every: bool = False,
) -> list[Cut]:
    """The cuts of ``search_cuts`` alone."""
    return search_cuts(
        graph,
        max_cuts=max_cuts,
        slack=slack,
        max_boundary_tensors=max_boundary_tensors,
        every=every,
    ).cuts


def search_cuts(
    graph: Graph,
    *,
    max_cuts: int = 16,
    slack: float = _SLACK,
    max_boundary_tensors: int | None = None,
    every: bool = False,
) -> FoundCuts:
    """The cuts worth having, ``input`` first and ``output`` last (these two always).

    Args:
        max_cuts: at most so many (at least 2): those whose loss would cost most over all links
            and SLAs (segment/worth.py).
        slack: a cut is dropped if another one within this share of the model's work has a
            smaller boundary.
        max_boundary_tensors: a cut where more tensors cross is not considered. None:
            ``MAX_BOUNDARY_TENSORS``, and no limit with ``every``.
        every: list every candidate, whatever its boundary; ``slack`` and ``max_cuts`` are unused.
    """
    limit = max_boundary_tensors
    if limit is None and not every:
        limit = MAX_BOUNDARY_TENSORS
    # Named before any is left out: an id never depends on what is kept.
    everywhere = _named(graph, _places(graph))
    first, *between, last = everywhere

    def within(most: int) -> list[_Place]:
        return [first, *(place for place in between if len(place.boundary) <= most), last]

    allowed = everywhere if limit is None else within(limit)
    worthwhile = allowed if every else _worth_having(allowed, slack)
    enough = None
    if len(worthwhile) == 2 and limit is not None:
        counts = sorted({len(place.boundary) for place in between})
        over = [count for count in counts if count > limit]
        enough = next((n for n in over if len(_worth_having(within(n), slack)) > 2), None)
    if not every:
        kept = most_valuable(
            [place.work for place in worthwhile],
            [place.nbytes for place in worthwhile],
            max_cuts,
        )
        worthwhile = [worthwhile[index] for index in kept]
    return FoundCuts(
        cuts=_as_cuts(graph, worthwhile),
        max_cuts=max_cuts,
        max_boundary_tensors=limit,
        num_over_limit=len(everywhere) - len(allowed),
        enough_tensors=enough,
    )


def _places(graph: Graph) -> list[_Place]:
    """Candidates by depth: the ends, and behind every operator that works."""
    boundaries = Boundaries(graph)
    uncounted = graph.total_flops == 0
    places = [_place(-1, 0, graph.inputs)]
    # Two places with the same boundary are one cut.
    known: set[frozenset[fx.Node]] = set()
    work = 0
    final = len(graph.operators) - 1
    for position, node in enumerate(graph.operators):
        if is_free(node):
            continue
        work += _UNCOUNTED_FLOPS if uncounted else graph.flops[node]
        values = boundaries.at(position) if position < final else None
        # Where nothing crosses but inputs, prepared or not, the cut is ``input``.
        if values and frozenset(values) not in known and not boundaries.of_inputs >= set(values):
            known.add(frozenset(values))
            places.append(_place(position, work, values))
    return [*places, _place(final, work, graph.outputs)]


def _place(position: int, work: int, values: tuple[fx.Node, ...]) -> _Place:
    boundary = tuple(spec for spec in map(spec_of, values) if spec is not None)
    return _Place(position, work, boundary, sum(spec.nbytes for spec in boundary))


def _worth_having(places: list[_Place], slack: float) -> list[_Place]:
    """Both ends, and what no other place within ``slack`` of the work beats."""
    work = np.array([place.work for place in places])
    nbytes = np.array([place.nbytes for place in places])
    reach = slack * work[-1]
    starts = np.searchsorted(work, work - reach, side="left")
    ends = np.searchsorted(work, work + reach, side="right")
    kept = [places[0]]
    for index, place in enumerate(places[1:-1], start=1):
        near = slice(starts[index], ends[index])
        if nbytes[near].min() < place.nbytes:
            continue
        # conv, norm and activation have equal boundaries and (nearly) all the work is the
        # first one's: of such a run the last is taken, where the runtime has fused them.
        equals = np.flatnonzero((nbytes == place.nbytes) & (work == place.work))
        if index == equals[-1] and equals[0] != 0:
            kept.append(place)
    return [*kept, places[-1]]


def _named(graph: Graph, places: list[_Place]) -> list[_Place]:
    """All places of the graph with unique ids.

    An id depends on the graph alone, so it means the same place whatever is kept of them: plans
    and ``--cut`` carry ids from one bundle to another.
    """
    last_in_call: dict[str, int] = {}
    for position, node in enumerate(graph.operators):
        last_in_call.update((call, position) for call, _ in _module_calls(node))
    ids = {0: INPUT, len(places) - 1: OUTPUT}
    inner = range(1, len(places) - 1)
    closed = {
        depth: path
        for depth in inner
        if (path := _closed_path(graph, places[depth].position, last_in_call))
    }
    taken = {INPUT, OUTPUT}
    # Where a module ends is named first: no place inside it may take its path.
    for depth, path in closed.items():
        ids[depth] = _unique(_readable(path), taken)
    for depth in inner:
        if depth not in closed:
            node = graph.operators[places[depth].position]
            inside = [path for _, path in _module_calls(node) if path]
            ids[depth] = _unique(_readable(".".join([*inside[-1:], node.name])), taken)
    return [replace(place, id=ids[depth]) for depth, place in enumerate(places)]


def _closed_path(graph: Graph, position: int, last_in_call: dict[str, int]) -> str | None:
    """Path of the outermost module that ends behind the operator; None if none does."""
    # What follows in a module without doing work (a view, dropout) does not keep it open.
    end = position
    while end + 1 < len(graph.operators) and is_free(graph.operators[end + 1]):
        end += 1
    return next(
        (
            path
            for call, path in _module_calls(graph.operators[position])
            if path and position <= last_in_call[call] <= end
        ),
        None,
    )


def _module_calls(node: fx.Node) -> list[tuple[str, str]]:
    """The calls of modules that the operator was traced in, outermost first, with their paths."""
    return list(zip(node.meta.get("nn_module_stack") or {}, module_paths(node), strict=True))


def _readable(path: str) -> str:
    """``path`` without the underscores in front of its parts."""
    return ".".join(part.lstrip("_") or part for part in path.split("."))


def _as_cuts(graph: Graph, places: list[_Place]) -> list[Cut]:
    flops_before = [0]
    for node in graph.operators:
        flops_before.append(flops_before[-1] + graph.flops[node])
    return [
        Cut(
            id=place.id,
            depth=depth,
            boundary=place.boundary,
            head_flops=flops_before[place.position + 1],
            tail_flops=flops_before[-1] - flops_before[place.position + 1],
        )
        for depth, place in enumerate(places)
    ]


def _unique(name: str, taken: set[str]) -> str:
    """``name``, or ``name.2``, ``name.3``..., whichever is free; it is taken then."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}.{count}"
    taken.add(candidate)
    return candidate
