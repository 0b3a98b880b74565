"""Operators of a Graph: which of them only rearrange, and what each of them costs.

The rule: what an operator does is read from its schema and tags where they say it; the names that
remain are listed here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from mobilesplit.segment.trace import Graph

_REARRANGING_COPIES = frozenset({
    "_to_copy", "_unsafe_view", "channel_shuffle", "clone", "flip", "native_channel_shuffle",
    "pixel_shuffle", "pixel_unshuffle", "roll", "rot90",
})  # fmt: skip
"""Free operators whose schema does not say so: each copies every element once, a dtype at most
changes."""
_DROPOUTS = frozenset({
    "alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout", "native_dropout",
})  # fmt: skip
"""Free in eval mode: their argument ``train`` is then False."""
_BITWISE_OR_PICKING = frozenset({"__and__", "__or__", "__xor__", "gather", "index"})
"""As cheap as a pointwise operator, without torch's tag."""


@dataclass(frozen=True)
class OperatorCost:
    """What one operator costs; the counts are exact, no time is in them."""

    name: str
    """Name of its value in the graph."""
    target: str
    """The operator: ``aten.conv2d.default``."""
    module: str
    """Path of the innermost module that was running; empty for the model itself."""
    flops: int
    """Floating-point operations, by torch's counter; 0 where it has no formula."""
    num_parameters: int
    """Elements of the parameters and buffers that it reads. One that two operators read counts
    with both."""
    output_bytes: int
    """Bytes of the activations that it makes; 0 for a view, which makes none. Operators that may
    copy or not (``reshape``) count as views, unless they change the dtype."""


def operator_costs(graph: Graph) -> list[OperatorCost]:
    """The cost of every operator of ``graph``, in its order; results of tuples are left out."""
    return [
        OperatorCost(
            name=node.name,
            target=str(node.target),
            module=(module_paths(node) or [""])[-1],
            flops=graph.flops[node],
            num_parameters=sum(weight.numel() for weight in _weights(graph, node)),
            output_bytes=0 if _is_view(node) and not _casts(node) else _nbytes(node),
        )
        for node in graph.operators
        if isinstance(node.target, torch._ops.OpOverload)
    ]


def module_paths(node: fx.Node) -> list[str]:
    """Paths of the modules that were running when the operator was traced, outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    # A module called several times is "path@1" from its second call on.
    return [str(entry[0]).split("@")[0] for entry in stack.values()]


def is_free(node: fx.Node) -> bool:
    """Whether the operator does no work: it selects, reshapes, reorders, casts or asserts.

    A cut behind such an operator is no better than the same boundary in front of it.
    """
    if not isinstance(node.target, torch._ops.OpOverload):
        return True  # getitem, arithmetic on sizes
    schema = node.target._schema
    if schema.is_mutable:
        return False
    if not _has_tensor_result(node.target):
        return True  # _assert_*, sym_size, item
    name = _short_name(node)
    if name in _DROPOUTS:
        return not _argument(node, "train")
    return _is_view(node) or torch.Tag.view_copy in node.target.tags or name in _REARRANGING_COPIES


def is_cheap(graph: Graph, node: fx.Node) -> bool:
    """Whether running it twice costs next to nothing: free, or pointwise without parameters."""
    if is_free(node):
        return True
    tags = getattr(node.target, "tags", ())
    repeatable = torch.Tag.nondeterministic_seeded not in tags and not graph.flops[node]
    simple = torch.Tag.pointwise in tags or _short_name(node) in _BITWISE_OR_PICKING
    learnt = any(isinstance(weight, nn.Parameter) for weight in _weights(graph, node))
    return repeatable and simple and not learnt


def _is_view(node: fx.Node) -> bool:
    """Whether every result shares the memory of an argument, by the schema (``Tensor(a)``)."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    results = node.target._schema.returns
    return bool(results) and all(
        result.alias_info is not None and not result.alias_info.is_write for result in results
    )


def _casts(node: fx.Node) -> bool:
    """Whether the result has another dtype than the argument."""
    dtypes = {
        value.dtype
        for source in (node, node.all_input_nodes[0])
        if isinstance(value := source.meta.get("val"), Tensor)
    }
    return len(dtypes) > 1


def _has_tensor_result(target: torch._ops.OpOverload[Any, Any]) -> bool:
    return any("Tensor" in str(result.type) for result in target._schema.returns)


def _argument(node: fx.Node, name: str) -> Any:
    """An argument of an ATen operator by its name, or its default."""
    assert isinstance(node.target, torch._ops.OpOverload)
    for index, argument in enumerate(node.target._schema.arguments):
        if argument.name == name:
            if index < len(node.args):
                return node.args[index]
            return node.kwargs.get(name, argument.default_value)
    raise KeyError(name)


def _short_name(node: fx.Node) -> str:
    """``clone`` for ``aten.clone.default``."""
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))


def _weights(graph: Graph, node: fx.Node) -> list[Tensor]:
    """The tensors of the model that the operator reads itself."""
    found = []
    for value in node.all_input_nodes:
        if value.op == "get_attr":
            owner, _, attribute = str(value.target).rpartition(".")
            weight = getattr(graph.module.get_submodule(owner), attribute)
            if isinstance(weight, Tensor):
                found.append(weight)
    return found


def _nbytes(node: fx.Node) -> int:
    results = pytree.tree_leaves(node.meta.get("val"))
    return sum(
        result.numel() * result.element_size()
        for result in results
        if isinstance(result, Tensor) and isinstance(result.numel(), int)
    )
