"""Sizes that follow the batch: what a Graph, traced at batch 1, needs to run at any batch.

The rule: the Graph stays the one that was traced at batch 1, with its cuts and its weights. A
second trace at a free batch only says which literal sizes and which dimensions are multiples of
the batch; a stage then computes them from its own inputs.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ShapesCollection
from torch.utils import _pytree as pytree

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError, first_line
from mobilesplit.segment import split
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph, functional_program

MAX_BATCH = 64
"""The largest batch that a stage with a free batch takes."""
_NUM_ROWS = 3
"""Rows of the second trace's inputs: torch holds a size of 1 for a constant."""


@dataclass(frozen=True)
class Batching:
    """How the sizes in a Graph follow the batch. What is not listed does not."""

    arguments: Mapping[str, Mapping[int, int]]
    """By operator, which of its arguments (index among all, flat) is how many times the batch."""
    dimensions: Mapping[str, tuple[int, ...]]
    """By value, how many times the batch each of its dimensions is; 0 for one that is fixed."""

    def dimension(self, value: str) -> int:
        """The one dimension of ``value`` along which the rows of a batch lie.

        Raises:
            ModelError: there is none, or more than one.
        """
        along = [dim for dim, times in enumerate(self.dimensions.get(value, ())) if times]
        if len(along) != 1:
            raise batch_one_only(
                f"{value} has the batch in {len(along)} dimensions where 1 is needed"
            )
        return along[0]


def follow_batch(graph: Graph, module: nn.Module) -> Batching:
    """Trace ``module`` once more, at a free batch (1 to 64), and compare it to ``graph``.

    Args:
        graph: what ``trace`` made of ``module``, before any operator of it was changed.

    Raises:
        ModelError: its sizes do not simply follow the batch; the message says where.
    """
    for node, tensor in zip(graph.inputs, graph.example_inputs, strict=True):
        if tensor.dim() == 0 or tensor.shape[0] != 1:
            raise batch_one_only(f"the input {node.name} has no batch of 1 in its first dimension")
    inputs = different_rows(graph.example_inputs)
    for node, tensor in zip(graph.inputs, inputs, strict=True):
        if any(torch.equal(row, tensor[0]) for row in tensor[1:]):
            raise batch_one_only(f"the rows of {node.name} cannot be told apart")
    shapes = ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor in inputs:
        shapes[tensor] = {0: Dim("batch", min=1, max=MAX_BATCH)}
    try:
        with quiet(errors=True), torch.no_grad():
            program = functional_program(module, inputs, dynamic_shapes=shapes)
    except Exception as error:
        # As with `trace`: whatever the model's own code raises at this batch comes out here.
        raise batch_one_only(obstacle(error)) from error
    return _compare(graph, program.graph)


def free_stage(graph: Graph, batching: Batching, start: Cut, end: Cut) -> fx.GraphModule:
    """``split.stage`` for any batch: the rows of a boundary lie along ``batching.dimension``.

    Raises:
        ModelError: a tensor that crosses ``start`` does not follow the batch, or ``graph`` is
            not the one that ``batching`` is about.
    """
    for spec in start.boundary:
        batching.dimension(spec.name)
    piece = split.stage(graph, start, end)
    sizes = _Sizes(piece.graph, batching)
    for node in list(piece.graph.nodes):
        following = batching.arguments.get(node.name)
        if node.op != "call_function" or not following:
            continue
        leaves, structure = pytree.tree_flatten((node.args, node.kwargs))
        for index, times in following.items():
            if leaves[index] != times:
                raise batch_one_only(f"the operator {node.name} is not as it was traced")
            leaves[index] = sizes.node(times)
        node.args, node.kwargs = pytree.tree_unflatten(leaves, structure)
    piece.recompile()
    return piece


def dynamic_shapes(batching: Batching, boundary: Cut) -> tuple[dict[int, Any], ...]:
    """What ``torch.export`` is told about a stage's inputs: which dimensions are the batch."""
    batch = Dim("batch", min=1, max=MAX_BATCH)
    shapes = []
    for spec in boundary.boundary:
        along = batching.dimension(spec.name)
        times = batching.dimensions[spec.name][along]
        shapes.append({along: batch if times == 1 else times * batch})
    return tuple(shapes)


def different_rows(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Batch-1 ``inputs`` as a batch of three whose rows differ, the first being the example.

    Always the same ones. Floats are drawn anew from the example's range. Integers and booleans
    are the example's in another order or, where that is the same, some of them one or a half
    nearer to 0 (0 becomes 1), so that ids stay ids and masks stay masks. Rows are equal only
    where an input has no element, or no finite one.
    """
    generator = torch.Generator().manual_seed(0)
    batches = []
    for tensor in inputs:
        others = range(1, _NUM_ROWS)
        if tensor.is_floating_point():
            rows = [_other_floats(tensor, index, generator) for index in others]
        else:
            rows = [_other_integers(tensor, index) for index in others]
        batches.append(torch.cat([tensor, *rows]))
    return tuple(batches)


def _other_floats(example: Tensor, index: int, generator: torch.Generator) -> Tensor:
    """``example`` with its finite elements drawn from their range, or from above a constant."""
    finite = example[example.isfinite()].double()
    if not len(finite):
        return example
    low, high = finite.min(), finite.max()
    noise = torch.rand(example.shape, generator=generator, dtype=torch.float64)
    if low == high:
        # Rounded down, as an index made of it would be, one row at least differs all the same.
        drawn = low + low.abs().clamp(min=1) * (index - noise)
    else:
        drawn = torch.lerp(low, high, noise)
    return torch.where(example.isfinite(), drawn.to(example.dtype), example)


def _other_integers(example: Tensor, index: int) -> Tensor:
    """``example``'s elements in another order, else its last ones nearer to 0."""
    elements = example.flatten()
    share = index * len(elements) // _NUM_ROWS
    row = elements.roll(share)
    if torch.equal(row, elements):
        # The first ones stay: a mask that hides everything would be no valid one.
        changed = elements[-max(1, share) :].long()
        nearer = changed - changed.sign() if index == 1 else changed.div(2, rounding_mode="trunc")
        row = elements.clone()
        row[-max(1, share) :] = torch.where(changed == 0, 1, nearer).to(row.dtype)
    return row.view_as(example)


def copy_to_row_major(piece: fx.GraphModule, outputs: Sequence[Tensor]) -> bool:
    """Have ``piece`` copy those of its ``outputs`` that are not row-major; whether any was."""
    returned = piece.graph.output_node()
    values = [*cast(tuple[fx.Node, ...], returned.args[0])]
    for index, (value, output) in enumerate(zip(values, outputs, strict=True)):
        if not output.is_contiguous():
            with piece.graph.inserting_before(returned):
                values[index] = piece.graph.call_function(
                    torch.ops.aten.contiguous.default, (value,)
                )
    if tuple(values) == returned.args[0]:
        return False
    returned.args = (tuple(values),)
    piece.recompile()
    return True


def obstacle(error: Exception) -> str:
    """torch's reason: the first violated constraint if it lists any, else its first line."""
    lines = [line.strip() for line in str(error).splitlines()]
    listed = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    return first_line(next(iter(listed), str(error))) or type(error).__name__


def batch_one_only(why: str) -> ModelError:
    return ModelError(
        f"Tails take batch 1 only: {why}.",
        next_step="Let forward() treat every row alike, whatever x.shape[0] is.",
    )


def _compare(graph: Graph, free: fx.Graph) -> Batching:
    """Operator by operator, what is a literal at batch 1 and a multiple of the free batch."""
    placeholders = list(free.find_nodes(op="placeholder"))[-len(graph.inputs) :]
    symbol = placeholders[0].meta["val"].shape[0].node.expr
    ones, others = _tensor_operators(graph.module.graph), _tensor_operators(free)
    arguments, dimensions = {}, {}
    for node, input_ in zip(graph.inputs, placeholders, strict=True):
        dimensions[node.name] = _dimensions(input_.meta["val"], symbol)
    for one, other in zip(ones, others, strict=False):
        if one.target is not other.target:
            raise batch_one_only(f"{other.name} runs at other batches where {one.name} runs at 1")
        following = _following(one, other, symbol)
        if following:
            arguments[one.name] = following
        if isinstance(other.meta["val"], Tensor):
            dimensions[one.name] = _dimensions(other.meta["val"], symbol)
    if len(ones) != len(others):
        raise batch_one_only(f"{len(ones)} operators run at batch 1, {len(others)} at others")
    return Batching(arguments, dimensions)


def _tensor_operators(graph: fx.Graph) -> list[fx.Node]:
    """Operators that give tensors: not those that compute sizes or check them."""
    return [
        node
        for node in graph.nodes
        if node.op == "call_function" and isinstance(node.meta.get("val"), Tensor | tuple | list)
    ]


def _following(one: fx.Node, other: fx.Node, symbol: Any) -> dict[int, int]:
    """Which arguments of ``other`` are how many times the batch, where ``one`` has literals."""
    ones = pytree.tree_leaves((one.args, one.kwargs))
    others = pytree.tree_leaves((other.args, other.kwargs))
    following = {}
    for index, (literal, size) in enumerate(zip(ones, others, strict=False)):
        value = size.meta.get("val") if isinstance(size, fx.Node) else size
        if isinstance(value, torch.SymInt):
            following[index] = _times(value, symbol)
        same = isinstance(size, fx.Node) if isinstance(literal, fx.Node) else literal == size
        if not same and following.get(index) != literal:
            raise batch_one_only(f"{one.name} has {literal} at batch 1 and {value} at others")
    if len(ones) != len(others):
        raise batch_one_only(f"{one.name} has other arguments at batch 1 than at others")
    return following


def _dimensions(value: Tensor, symbol: Any) -> tuple[int, ...]:
    return tuple(
        _times(size, symbol) if isinstance(size, torch.SymInt) else 0 for size in value.shape
    )


def _times(size: torch.SymInt, symbol: Any) -> int:
    """k where ``size`` is k times the batch."""
    expression = size.node.expr
    times = int(expression.subs(symbol, 1))
    if expression != times * symbol:
        raise batch_one_only(f"a size of {expression} is no multiple of the batch {symbol}")
    return times


class _Sizes:
    """Multiples of the batch as nodes of a piece: read off one of its inputs, each once."""

    def __init__(self, piece: fx.Graph, batching: Batching) -> None:
        inputs: list[fx.Node] = piece.find_nodes(op="placeholder")
        self._piece = piece
        self._last_input = inputs[-1]
        self._nodes: dict[int, fx.Node] = {}
        # The smallest multiple is the batch itself wherever an input has it.
        self._times, self._source, self._along = min(
            (
                (times, node, along)
                for node in inputs
                for along, times in enumerate(batching.dimensions[node.name])
                if times
            ),
            key=lambda found: found[0],
        )

    def node(self, times: int) -> fx.Node:
        """The node that is ``times`` the batch."""
        if times not in self._nodes:
            self._nodes[times] = self._made(times)
        return self._nodes[times]

    def _made(self, times: int) -> fx.Node:
        if times == self._times:
            with self._piece.inserting_after(self._last_input):
                size = torch.ops.aten.sym_size.int
                return self._piece.call_function(size, (self._source, self._along))
        read = self.node(self._times)
        with self._piece.inserting_after(read):
            rows = read
            if self._times > 1:
                rows = self._piece.call_function(operator.floordiv, (read, self._times))
        with self._piece.inserting_after(rows):
            return self._piece.call_function(operator.mul, (rows, times))
