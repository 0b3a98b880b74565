"""What must cross at a place of a Graph: the smallest set of values that the tail can start from.

The rule: a value is sent in whichever form is smallest. A free operator (segment/operators.py)
may run on either side, wherever it stands in the order: of a sequence of which the tail reads
one element, the element crosses; of a mask that was widened for it, the narrow one. What cheap
operators make of one of the model's inputs may be made again in the cloud, so such an input
crosses instead of what became of it where that is smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from mobilesplit.segment.operators import is_cheap, is_free
from mobilesplit.segment.trace import Graph, spec_of


@dataclass(frozen=True)
class ValueTrees:
    """The values of a graph, by what they are made of.

    A *root* is a value that cannot be had otherwise: a model input, or the result of an operator
    that works. Below it are its *forms*: values that movable operators make of it alone.
    """

    roots: Sequence[fx.Node]
    """In the order of the graph, inputs first."""
    forms: Mapping[fx.Node, Sequence[fx.Node]]
    """For a value that has any, the values that one movable operator makes of it."""
    of_inputs: frozenset[fx.Node]
    """The model's inputs and all their forms."""


def value_trees(graph: Graph) -> ValueTrees:
    """Which values of ``graph`` are roots, and what their forms are."""
    roots = list(graph.inputs)
    forms: dict[fx.Node, list[fx.Node]] = {}
    from_input = set(graph.inputs)
    varying = {*graph.inputs, *graph.operators}
    # A graph without countable work is divided by its operators: none of them is cheap then.
    countable = graph.total_flops > 0
    for node in graph.operators:
        sources = [value for value in node.all_input_nodes if value in varying]
        again = countable and from_input.issuperset(sources) and is_cheap(graph, node)
        if len(sources) == 1 and (again or is_free(node)):
            forms.setdefault(sources[0], []).append(node)
            if sources[0] in from_input:
                from_input.add(node)
        else:
            roots.append(node)
    return ValueTrees(roots, forms, frozenset(from_input))


@dataclass(frozen=True)
class _Choice:
    """Values that stand for one root, and what they weigh."""

    nbytes: float
    values: tuple[fx.Node, ...]


class Boundaries:
    """The boundaries of a graph, place by place."""

    def __init__(self, graph: Graph) -> None:
        self._trees = value_trees(graph)
        self.of_inputs = self._trees.of_inputs
        self._position = {node: index for index, node in enumerate(graph.operators)}
        # Of every value the last operator that reads it and is a root itself.
        self._last_use: dict[fx.Node, int] = {}
        for root in self._trees.roots:
            self._last_use.update(dict.fromkeys(root.all_input_nodes, self._at(root)))
        self._last_use.update(dict.fromkeys(graph.outputs, len(graph.operators)))
        # The same of a value or any of its forms.
        self._last_need: dict[fx.Node, int] = {}
        for node in (*reversed(graph.operators), *graph.inputs):
            needs = [self._last_need[form] for form in self._trees.forms.get(node, ())]
            self._last_need[node] = max([self._last_use.get(node, -1), *needs])

    def at(self, position: int) -> tuple[fx.Node, ...] | None:
        """What crosses behind operator ``position``; None where it cannot (it is no tensor)."""
        values: list[fx.Node] = []
        for root in self._trees.roots:
            if self._at(root) > position:
                break
            if self._last_need[root] > position:
                choice = self._smallest(root, position)
                if math.isinf(choice.nbytes):
                    return None
                values += choice.values
        return tuple(values)

    def _at(self, root: fx.Node) -> int:
        return self._position.get(root, -1)

    def _smallest(self, value: fx.Node, position: int) -> _Choice:
        """``value`` itself or what the tail needs of its forms; of equals, itself."""
        spec = spec_of(value)
        itself = _Choice(math.inf if spec is None else spec.nbytes, (value,))
        if self._last_use.get(value, -1) > position:
            return itself
        needed = [
            self._smallest(form, position)
            for form in self._trees.forms.get(value, ())
            if self._last_need[form] > position
        ]
        nbytes = sum(choice.nbytes for choice in needed)
        if itself.nbytes <= nbytes:
            return itself
        return _Choice(nbytes, tuple(node for choice in needed for node in choice.values))
