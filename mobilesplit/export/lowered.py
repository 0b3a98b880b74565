"""Lowered programs as plain data: to be taken apart at their marks, or sent between processes.

The rule: ``pack`` and ``unpack`` are for a process and the children that it started itself, through
its own private folder. They pickle, and nothing else is ever given to them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from executorch.exir.delegate import executorch_call_delegate
from executorch.exir.dialects._ops import ops as exir_ops
from executorch.exir.dialects.edge._ops import EdgeOpOverload
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from mobilesplit.export.boundaries import is_mark


@dataclass(frozen=True)
class Layout:
    """A tensor without its elements."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dim_order: tuple[int, ...]
    """Dimensions from the outermost in memory to the innermost."""
    dtype: torch.dtype


@dataclass(frozen=True)
class Ref:
    """Another node, by its name."""

    name: str


@dataclass(frozen=True)
class Node:
    """One node of a lowered graph: as ``fx.Node``, with ``Ref`` for nodes in its arguments."""

    op: str
    name: str
    target: Any
    args: Any
    kwargs: Any
    value: Any
    """A ``Layout``, or a nest of them."""


@dataclass(frozen=True)
class Delegate:
    """What a backend made of a part of the graph."""

    backend_id: str
    processed_bytes: bytes
    compile_specs: Any
    named_data: Any
    """Weights by digest (``NamedDataStoreOutput``), or None."""
    inputs: tuple[Layout, ...]
    outputs: tuple[Layout, ...]
    operators: int
    """Operators of the edge dialect that it took."""


@dataclass(frozen=True)
class Weight:
    """A tensor that no delegate took, which the graph reads as a placeholder."""

    kind: InputKind
    target: str
    persistent: bool | None
    tensor: Any
    in_state_dict: bool
    """Else it is among the program's constants."""


@dataclass(frozen=True)
class Lowered:
    """A graph on the edge dialect with its delegates, weights and marks."""

    nodes: tuple[Node, ...]
    """In topological order, placeholders first, the output node last."""
    inputs: tuple[str, ...]
    """Placeholders of the graph's own inputs."""
    outputs: tuple[str, ...]
    """Nodes that it returns."""
    delegates: dict[str, Delegate]
    """By the target of their ``get_attr`` nodes."""
    weights: dict[str, Weight]
    """By placeholder."""

    def marks(self, cut: int) -> tuple[str, ...]:
        """The marks at a cut, by the cut's index and in the boundary's order; none: it has none."""
        found = {
            node.args[2]: node.name
            for node in self.nodes
            if is_mark(node.target) and node.args[1] == cut
        }
        return tuple(found[place] for place in sorted(found))

    def values(self, cut: int) -> tuple[str, ...]:
        """What crosses a marked cut: the marks' arguments."""
        by_name = {node.name: node for node in self.nodes}
        return tuple(by_name[mark].args[0].name for mark in self.marks(cut))

    @classmethod
    def of(cls, program: ExportedProgram, operators: dict[str, int]) -> Lowered:
        """A lowered program as data; ``operators`` counts those that each delegate took."""
        signature = program.graph_signature
        module = program.graph_module
        weights = {}
        for spec in signature.input_specs:
            if spec.kind != InputKind.USER_INPUT:
                target, stated = str(spec.target), spec.target in program.state_dict
                tensor = (program.state_dict if stated else program.constants)[target]
                weights[str(spec.arg.name)] = Weight(
                    spec.kind, target, spec.persistent, tensor, stated
                )
        return cls(
            nodes=tuple(_node(node) for node in program.graph.nodes),
            inputs=tuple(str(name) for name in signature.user_inputs),
            outputs=tuple(str(name) for name in signature.user_outputs),
            delegates={
                name: _delegate(getattr(module, name), count) for name, count in operators.items()
            },
            weights=weights,
        )


def refs(node: Node) -> list[str]:
    """The nodes that ``node`` takes, by name."""
    leaves = pytree.tree_leaves((node.args, node.kwargs))
    return [leaf.name for leaf in leaves if isinstance(leaf, Ref)]


def resolved(tree: Any, nodes: Mapping[str, fx.Node]) -> Any:
    """``tree`` with nodes in the place of their ``Ref``."""
    return pytree.tree_map_only(Ref, lambda ref: nodes[ref.name], tree)


def pack(lowered: Lowered) -> bytes:
    """``lowered`` as bytes."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(lowered)
    return buffer.getvalue()


def unpack(data: bytes) -> Lowered:
    """What ``pack`` packed, in a process that this one started."""
    lowered = pickle.loads(data)  # noqa: S301  # see the module's rule
    assert isinstance(lowered, Lowered)
    return lowered


def layout_of(tensor: Tensor) -> Layout:
    """Size, stride, dim order and dtype of a tensor."""
    return Layout(
        tuple(tensor.shape), tuple(tensor.stride()), tuple(tensor.dim_order()), tensor.dtype
    )


def _node(node: fx.Node) -> Node:
    args, kwargs = pytree.tree_map_only(
        fx.Node, lambda value: Ref(value.name), (node.args, node.kwargs)
    )
    value = pytree.tree_map_only(Tensor, layout_of, node.meta.get("val"))
    return Node(node.op, node.name, node.target, args, kwargs, value)


def _delegate(module: LoweredBackendModule, operators: int) -> Delegate:
    original = module.original_module
    values = {node.name: node.meta["val"] for node in original.graph.nodes if "val" in node.meta}
    return Delegate(
        backend_id=module.backend_id,
        processed_bytes=module.processed_bytes,
        compile_specs=module.compile_specs,
        named_data=module.named_data_store_output,
        inputs=tuple(layout_of(values[name]) for name in original.graph_signature.user_inputs),
        outputs=tuple(layout_of(values[name]) for name in original.graph_signature.user_outputs),
        operators=operators,
    )


class _Pickler(pickle.Pickler):
    """Operators go by name: they are singletons of either process."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, EdgeOpOverload):
            return _edge_operator, (obj._schema.name, obj._schema.overload_name or "default")
        if isinstance(obj, OpOverload):
            return _torch_operator, (obj._schema.name, obj._schema.overload_name or "default")
        if obj is executorch_call_delegate:
            return _call_delegate, ()
        return NotImplemented


def _edge_operator(name: str, overload: str) -> Any:
    namespace, _, short = name.partition("::")
    return getattr(getattr(getattr(exir_ops.edge, namespace), short), overload)


def _torch_operator(name: str, overload: str) -> Any:
    namespace, _, short = name.partition("::")
    return getattr(getattr(getattr(torch.ops, namespace), short), overload)


def _call_delegate() -> Any:
    return executorch_call_delegate
