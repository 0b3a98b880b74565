"""Heads as the methods of one ExecuTorch program that share their weights.

The rule: lower once. Each stage is lowered a single time; a head is the lowered stages in
order, joined on the edge dialect's graph, so equal delegate blobs are stored once in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeProgramManager, to_edge_transform_and_lower
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch import Tensor, fx, nn
from torch._subclasses import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.utils import _pytree as pytree

Backend = Literal["xnnpack", "portable"]


def method_names(cut_ids: Iterable[str]) -> list[str]:
    """``head_<id>`` with everything but letters and digits as ``_``; unique within the list."""
    names: list[str] = []
    for cut_id in cut_ids:
        stem = "head_" + re.sub(r"\W", "_", cut_id)
        name, count = stem, 1
        while name in names:
            count += 1
            name = f"{stem}_{count}"
        names.append(name)
    return names


def compile_heads(
    stages: Sequence[ExportedProgram], methods: Sequence[str], backend: Backend
) -> bytes:
    """An ExecuTorch program (.pte) whose method k runs the stages 0 to k.

    Args:
        stages: stage k's inputs are stage k-1's outputs, in the same order; all at batch 1.
        methods: a name for each stage's end.
        backend: ``xnnpack`` delegates what XNNPACK takes; ``portable`` delegates nothing.
    """
    lowered = _lower(stages, backend)
    heads = {method: _join(lowered[: depth + 1]) for depth, method in enumerate(methods)}
    return bytes(EdgeProgramManager(heads).to_executorch().buffer)


def _lower(stages: Sequence[ExportedProgram], backend: Backend) -> list[ExportedProgram]:
    """Every stage on the edge dialect, with its delegates."""
    programs = {f"stage_{index}": stage for index, stage in enumerate(stages)}
    partitioners = {
        name: [XnnpackPartitioner()] if backend == "xnnpack" else [] for name in programs
    }
    manager = to_edge_transform_and_lower(programs, partitioner=partitioners)
    lowered = [manager.exported_program(name) for name in programs]
    for program in lowered:
        for node in program.graph.find_nodes(op="get_attr"):
            delegate = getattr(program.graph_module, str(node.target))
            if isinstance(delegate, LoweredBackendModule):
                # Passes run a delegate's original program for its output's shape, again for
                # every head it is in: one that only has the shape makes emitting 7 times
                # faster. A private name: executorch is pinned, and export checks every head.
                delegate._original_exported_program = _shapes_only(delegate.original_module)
    return lowered


def _shapes_only(program: ExportedProgram) -> ExportedProgram:
    """A program that does nothing but return tensors of the same shape, dtype and dim order."""
    signature = program.graph_signature
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    inputs = tuple(
        torch.zeros(values[n].shape, dtype=values[n].dtype) for n in signature.user_inputs
    )
    return torch.export.export(
        _Empty([values[n] for n in signature.user_outputs]), inputs, strict=False
    )


class _Empty(nn.Module):
    def __init__(self, likes: list[Tensor]) -> None:
        super().__init__()
        self.layouts = [(tuple(v.shape), tuple(v.dim_order()), v.dtype) for v in likes]

    def forward(self, *_inputs: Tensor) -> list[Tensor]:
        return [
            torch.empty_permuted(size, order, dtype=dtype) for size, order, dtype in self.layouts
        ]


@dataclass
class _Joined:
    """A head under construction."""

    graph: fx.Graph = field(default_factory=fx.Graph)
    mode: FakeTensorMode = field(default_factory=FakeTensorMode)
    attributes: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    weight_specs: list[InputSpec] = field(default_factory=list)
    input_specs: list[InputSpec] = field(default_factory=list)
    values: list[fx.Node] = field(default_factory=list)
    """What the stages so far return: the next stage's inputs."""

    def placeholder(self, node: fx.Node, name: str) -> fx.Node:
        """A placeholder like ``node``."""
        return self.adopt(self.graph.placeholder(name), node)

    def adopt(self, copy: fx.Node, node: fx.Node) -> fx.Node:
        """Give ``copy`` what is known of ``node``: values of one graph share a FakeTensorMode."""
        copy.meta = dict(node.meta)
        if "val" in node.meta:
            copy.meta["val"] = pytree.tree_map_only(Tensor, self._like, node.meta["val"])
        return copy

    def _like(self, value: Tensor) -> Tensor:
        with self.mode:
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)


def _join(stages: Sequence[ExportedProgram]) -> ExportedProgram:
    """The edge programs ``stages`` one after the other as one edge program."""
    joined = _Joined()
    # Placeholders come first in a graph, weights in front of inputs.
    weights = [_add_weights(joined, stage, index) for index, stage in enumerate(stages)]
    by_name = {node.name: node for node in stages[0].graph.find_nodes(op="placeholder")}
    for name in stages[0].graph_signature.user_inputs:
        node = joined.placeholder(by_name[str(name)], str(name))
        spec = InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None)
        joined.input_specs.append(spec)
        joined.values.append(node)
    for stage, copies in zip(stages, weights, strict=True):
        _add_operators(joined, stage, copies)
    joined.graph.output(tuple(joined.values))
    outputs = [
        OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None)
        for node in joined.values
    ]
    return ExportedProgram(
        root=joined.attributes,
        graph=joined.graph,
        graph_signature=ExportGraphSignature(joined.weight_specs + joined.input_specs, outputs),
        state_dict=joined.state,
        range_constraints={},
        module_call_graph=[ModuleCallEntry("", _call(len(joined.input_specs), len(outputs)))],
        constants=joined.constants,
        verifiers=[stages[0].verifier],
    )


def _add_weights(joined: _Joined, stage: ExportedProgram, index: int) -> dict[fx.Node, fx.Node]:
    """Placeholders for the weights that no delegate has taken, renamed to be the stage's own."""
    copies = {}
    by_name = {node.name: node for node in stage.graph.find_nodes(op="placeholder")}
    for spec in stage.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            continue
        node = by_name[spec.arg.name]
        copy = joined.placeholder(node, f"s{index}_{node.name}")
        target = f"s{index}_{spec.target}"
        if spec.target in stage.state_dict:
            joined.state[target] = stage.state_dict[spec.target]
        else:
            joined.constants[target] = stage.constants[str(spec.target)]
        joined.weight_specs.append(
            InputSpec(spec.kind, TensorArgument(copy.name), target, spec.persistent)
        )
        copies[node] = copy
    return copies


def _add_operators(joined: _Joined, stage: ExportedProgram, copies: dict[fx.Node, fx.Node]) -> None:
    """The stage's operators behind those already there; ``copies`` holds its weights."""
    signature = stage.graph_signature
    user_inputs = [str(name) for name in signature.user_inputs]
    for node in stage.graph.nodes:
        if node.op == "placeholder":
            if node not in copies:
                copies[node] = joined.values[user_inputs.index(node.name)]
        elif node.op == "get_attr":
            target = f"lowered_module_{len(joined.attributes)}"
            joined.attributes[target] = getattr(stage.graph_module, str(node.target))
            copies[node] = joined.adopt(joined.graph.get_attr(target), node)
        elif node.op == "call_function":
            copy = joined.graph.node_copy(node, lambda value: copies[value])
            copies[node] = joined.adopt(copy, node)
    by_name = {node.name: node for node in copies}
    joined.values = [copies[by_name[str(name)]] for name in signature.user_outputs]


def _call(num_inputs: int, num_outputs: int) -> ModuleCallSignature:
    """Plain tensors in, a tuple of tensors out."""
    in_spec = pytree.tree_structure(((0,) * num_inputs, {}))
    out_spec = pytree.tree_structure((0,) * num_outputs)
    return ModuleCallSignature(inputs=[], outputs=[], in_spec=in_spec, out_spec=out_spec)
