"""What must cross at a place of a Graph: the smallest set of values that the tail can start from.

The rule: a value is sent in whichever form is smallest. A free operator (segment/operators.py)
may run on either side, wherever it stands in the order: of a sequence of which the tail reads
one element, the element crosses; of a mask that was widened for it, the narrow one. What cheap
operators make of one of the model's inputs may be made again in the cloud, so such an input
crosses instead of what became of it where that is smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import fx

from mobilesplit.segment.operators import is_cheap, is_free
from mobilesplit.segment.trace import Graph, spec_of


@dataclass(frozen=True)
class _Choice:
    """Values that stand for one root, and what they weigh."""

    nbytes: float
    values: tuple[fx.Node, ...]


class Boundaries:
    """The boundaries of a graph, place by place.

    A *root* is a value that cannot be had otherwise: a model input, or the result of an operator
    that works. Each root has a tree below it, of values that movable operators make of it.
    """

    def __init__(self, graph: Graph) -> None:
        self._position = {node: index for index, node in enumerate(graph.operators)}
        self._children: dict[fx.Node, list[fx.Node]] = {}
        self._last_use: dict[fx.Node, int] = {}
        self._roots: list[fx.Node] = list(graph.inputs)
        from_input = set(graph.inputs)
        varying = {*graph.inputs, *graph.operators}
        for position, node in enumerate(graph.operators):
            sources = [value for value in node.all_input_nodes if value in varying]
            # A graph without countable work is divided by its operators: none of them is cheap.
            again = from_input.issuperset(sources) and graph.total_flops and is_cheap(graph, node)
            if len(sources) == 1 and (again or is_free(node)):
                self._children.setdefault(sources[0], []).append(node)
                if sources[0] in from_input:
                    from_input.add(node)
            else:
                self._roots.append(node)
                self._last_use.update(dict.fromkeys(sources, position))
        self._last_use.update(dict.fromkeys(graph.outputs, len(graph.operators)))
        # The last use of a value or of anything in the tree below it.
        self._last_need: dict[fx.Node, int] = {}
        for node in (*reversed(graph.operators), *graph.inputs):
            needs = [self._last_need[child] for child in self._children.get(node, ())]
            self._last_need[node] = max([self._last_use.get(node, -1), *needs])

    def at(self, position: int) -> tuple[fx.Node, ...] | None:
        """What crosses behind operator ``position``; None where it cannot (it is no tensor)."""
        values: list[fx.Node] = []
        for root in self._roots:
            if self._position.get(root, -1) > position:
                break
            if self._last_need[root] > position:
                choice = self._smallest(root, position)
                if math.isinf(choice.nbytes):
                    return None
                values += choice.values
        return tuple(values)

    def _smallest(self, value: fx.Node, position: int) -> _Choice:
        """``value`` itself or what the tail needs of the values below it; of equals, itself."""
        spec = spec_of(value)
        itself = _Choice(math.inf if spec is None else spec.nbytes, (value,))
        if self._last_use.get(value, -1) > position:
            return itself
        below = [
            self._smallest(child, position)
            for child in self._children.get(value, ())
            if self._last_need[child] > position
        ]
        nbytes = sum(choice.nbytes for choice in below)
        if itself.nbytes <= nbytes:
            return itself
        return _Choice(nbytes, tuple(node for choice in below for node in choice.values))
