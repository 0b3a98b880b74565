"""Heads as the methods of one ExecuTorch program that share their weights.

The rule: nothing is lowered here. A head is what its boundary depends on in the lowered parts of
the model, joined on the edge dialect's graph, so equal delegate blobs are stored once in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, EdgeProgramManager
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.exir.verification.verifier import EXIREdgeDialectVerifier
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

from mobilesplit.core.errors import ModelError
from mobilesplit.core.manifest import Coverage
from mobilesplit.export.boundaries import is_mark
from mobilesplit.export.coverage import coverage
from mobilesplit.export.lowered import Delegate, Layout, Lowered, Node, Weight, refs, resolved


@dataclass(frozen=True)
class Part:
    """What lies between two cuts, by their indices, of a lowered program that has it inside."""

    lowered: Lowered
    span: tuple[int, int]
    """The cuts that the whole program lies between; those inside are marked."""
    first_cut: int
    last_cut: int


@dataclass(frozen=True)
class Composed:
    """A method that is ready to be emitted."""

    program: ExportedProgram
    delegated_operators: int

    def coverage(self, total_flops: int) -> Coverage:
        """What delegates run of it; ``total_flops`` are the method's."""
        return coverage(self.program.graph.nodes, self.delegated_operators, total_flops)


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


def emit(methods: Mapping[str, Composed]) -> bytes:
    """An ExecuTorch program (.pte) with these methods."""
    programs = {name: method.program for name, method in methods.items()}
    return bytes(EdgeProgramManager(programs).to_executorch().buffer)


class Composer:
    """Joins lowered parts to methods; each delegate is rebuilt once for all of them."""

    def __init__(self) -> None:
        self._modules: dict[int, tuple[Delegate, LoweredBackendModule]] = {}

    def head(self, parts: Sequence[Part]) -> Composed:
        """A head: the first part begins at ``input``, each other where the one before it ends."""
        return _compose(self, [_Piece.of(part) for part in parts])

    def between(self, lowered: Lowered, starts: Sequence[str], ends: Sequence[str]) -> Composed:
        """What lies between some inputs of a lowered program and some of its outputs, by name."""
        return _compose(self, [_Piece(lowered, starts, ends)])

    def module(self, delegate: Delegate) -> LoweredBackendModule:
        """The delegate as executorch wants it."""
        if id(delegate) not in self._modules:
            self._modules[id(delegate)] = (
                delegate,
                LoweredBackendModule(
                    # Passes run a delegate's program for its outputs' shapes, again for every head
                    # it is in: one that only has the shapes makes emitting 7 times faster.
                    _shapes_only(delegate),
                    delegate.backend_id,
                    delegate.processed_bytes,
                    delegate.compile_specs,
                    delegate.named_data,
                ),
            )
        return self._modules[id(delegate)][1]


@dataclass(frozen=True)
class _Piece:
    """What ``ends`` need of a lowered program, from ``starts`` on; nodes by name."""

    lowered: Lowered
    starts: Sequence[str]
    ends: Sequence[str]

    @classmethod
    def of(cls, part: Part) -> _Piece:
        lowered, (first, last) = part.lowered, part.span
        starts = lowered.inputs if part.first_cut == first else lowered.marks(part.first_cut)
        ends = lowered.outputs if part.last_cut == last else lowered.values(part.last_cut)
        assert starts and ends, "a mark was lost in lowering"
        return cls(lowered, starts, ends)

    @property
    def nodes(self) -> list[Node]:
        """What has to be copied, in topological order."""
        by_name = {node.name: node for node in self.lowered.nodes}
        needed: set[str] = set(self.starts)
        pending = list(self.ends)
        while pending:
            name = pending.pop()
            if name not in needed:
                needed.add(name)
                pending += refs(by_name[name])
        needed.difference_update(self.starts)
        return [node for node in self.lowered.nodes if node.name in needed]


@dataclass
class _Method:
    """A method under construction."""

    composer: Composer
    graph: fx.Graph = field(default_factory=fx.Graph)
    mode: FakeTensorMode = field(default_factory=FakeTensorMode)
    delegates: dict[str, LoweredBackendModule] = field(default_factory=dict)
    delegated_operators: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    specs: list[InputSpec] = field(default_factory=list)

    def add_weight(self, name: str, node: Node, weight: Weight, prefix: str) -> fx.Node:
        """A placeholder for a weight that no delegate has taken, named to be its piece's own."""
        copy = self._placeholder(prefix + name, node)
        target = prefix + weight.target
        (self.state if weight.in_state_dict else self.constants)[target] = weight.tensor
        argument = TensorArgument(copy.name)
        self.specs.append(InputSpec(weight.kind, argument, target, weight.persistent))
        return copy

    def add_input(self, name: str, node: Node) -> fx.Node:
        copy = self._placeholder(name, node)
        self.specs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(copy.name), None))
        return copy

    def add_operator(self, node: Node, lowered: Lowered, copies: dict[str, fx.Node]) -> fx.Node:
        """A delegate, a call of one, or an operator that was left out."""
        if node.op == "get_attr":
            target = f"lowered_module_{len(self.delegates)}"
            delegate = lowered.delegates[str(node.target)]
            self.delegates[target] = self.composer.module(delegate)
            self.delegated_operators += delegate.operators
            return self.graph.get_attr(target)
        args, kwargs = resolved((node.args, node.kwargs), copies)
        copy = self.graph.call_function(node.target, args, kwargs)
        copy.meta["val"] = self._value(node)
        return copy

    def _placeholder(self, name: str, node: Node) -> fx.Node:
        copy = self.graph.placeholder(name)
        copy.meta["val"] = self._value(node)
        return copy

    def _value(self, node: Node) -> Any:
        """Values of one graph share a FakeTensorMode."""

        def fake(layout: Layout) -> Tensor:
            with self.mode:
                return torch.empty_strided(layout.size, layout.stride, dtype=layout.dtype)

        return pytree.tree_map_only(Layout, fake, node.value)


def _compose(composer: Composer, pieces: Sequence[_Piece]) -> Composed:
    """The pieces one after the other as one edge program."""
    method = _Method(composer)
    # Placeholders come first in a graph, weights in front of inputs.
    copies: list[dict[str, fx.Node]] = []
    for index, piece in enumerate(pieces):
        weights = piece.lowered.weights
        copies.append({
            node.name: method.add_weight(node.name, node, weights[node.name], f"p{index}_")
            for node in piece.nodes
            if node.name in weights
        })  # fmt: skip
    by_name = {node.name: node for node in pieces[0].lowered.nodes}
    values = [method.add_input(name, by_name[name]) for name in pieces[0].starts]
    for piece, own in zip(pieces, copies, strict=True):
        own.update(zip(piece.starts, values, strict=True))
        for node in piece.nodes:
            if is_mark(node.target):
                own[node.name] = own[refs(node)[0]]
            elif node.op == "placeholder":
                if node.name not in own:  # a shared weight's operator is of the earlier stage
                    raise ModelError(
                        f"The model cannot be lowered: {node.name} is needed behind a cut.",
                        next_step="Try --backend portable.",
                    )
            else:
                own[node.name] = method.add_operator(node, piece.lowered, own)
        values = [own[name] for name in piece.ends]
    return _finished(method, values)


def _finished(method: _Method, values: Sequence[fx.Node]) -> Composed:
    method.graph.output(tuple(values))
    outputs = [
        OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None) for node in values
    ]
    num_inputs = sum(spec.kind == InputKind.USER_INPUT for spec in method.specs)
    program = ExportedProgram(
        root=method.delegates,
        graph=method.graph,
        graph_signature=ExportGraphSignature(method.specs, outputs),
        state_dict=method.state,
        range_constraints={},
        module_call_graph=[ModuleCallEntry("", _call(num_inputs, len(outputs)))],
        constants=method.constants,
        verifiers=[
            EXIREdgeDialectVerifier(edge_compile_config=EdgeCompileConfig(), class_only=True)
        ],
    )
    return Composed(program, method.delegated_operators)


def _call(num_inputs: int, num_outputs: int) -> ModuleCallSignature:
    """Plain tensors in, a tuple of tensors out."""
    in_spec = pytree.tree_structure(((0,) * num_inputs, {}))
    out_spec = pytree.tree_structure((0,) * num_outputs)
    return ModuleCallSignature(inputs=[], outputs=[], in_spec=in_spec, out_spec=out_spec)


def _shapes_only(delegate: Delegate) -> ExportedProgram:
    """A program that returns tensors of the delegate's shapes, and computes nothing."""
    inputs = tuple(torch.zeros(layout.size, dtype=layout.dtype) for layout in delegate.inputs)
    return torch.export.export(_Empty(delegate.outputs), inputs, strict=False)


class _Empty(nn.Module):
    def __init__(self, layouts: Sequence[Layout]) -> None:
        super().__init__()
        self.layouts = layouts

    def forward(self, *_inputs: Tensor) -> list[Tensor]:
        return [
            torch.empty_permuted(layout.size, layout.dim_order, dtype=layout.dtype)
            for layout in self.layouts
        ]
