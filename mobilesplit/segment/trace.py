"""nn.Module to Graph: the model as torch.export sees it, with the work of every operator.

The rule: a Graph is flat and functional - tensors in, tensors out, no operator writes to its
arguments - so that any prefix of it can run alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram, ShapesCollection
from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from mobilesplit.core.errors import ModelError
from mobilesplit.core.tensors import ITEMSIZE, DType, TensorSpec
from mobilesplit.segment.functional import functional
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.refusal import refusal

PROVENANCE_KEYS = ("from_node", "nn_module_stack", "stack_trace", "source_fn_stack", "torch_fn")
"""Metadata that lowering copies with every node and nobody reads: drop it before (it is slow)."""


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    count: int = sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]
    return count


_MORE_FORMULAS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
"""Attention on a CPU: torch has the formula and leaves this one operator out of its list."""


_VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)
_STATE = (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION)
_RANDOM = {"rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal"}


@dataclass(frozen=True)
class Graph:
    """A traced model. ``module`` holds the only copy of the weights: heads and tails share it."""

    module: fx.GraphModule
    """The whole model: example inputs in, its outputs (flat) out."""
    inputs: tuple[fx.Node, ...]
    """Placeholders, in the order of the example inputs."""
    operators: tuple[fx.Node, ...]
    """Operators (``call_function``) in topological order, without those on constants alone and
    those that no output needs."""
    outputs: tuple[fx.Node, ...]
    """What the model returns, flat."""
    flops: Mapping[fx.Node, int]
    """Floating-point operations by node (a multiply-add is two); 0 where torch has no formula."""
    example_inputs: tuple[Tensor, ...]
    """What it was traced with, batch 1."""

    @property
    def total_flops(self) -> int:
        """Floating-point operations of one inference."""
        return sum(self.flops[node] for node in self.operators)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The whole model's outputs, flat."""
        with torch.no_grad():
            return flat_tensors(self.module(*inputs))


def trace(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> Graph:
    """Trace ``module`` in eval mode at the shapes of ``example_inputs`` (batch 1).

    Raises:
        ModelError: torch.export does not take it (with torch's reason, and where), it returns
            something other than tensors, or it keeps state between calls.
    """
    module.eval()
    try:
        with quiet(errors=True), torch.no_grad():
            program = functional_program(module, example_inputs)
            _refuse_state(program)
            return graph_of(program.module(check_guards=False), example_inputs)
    except ModelError:
        raise
    except Exception as error:
        raise refusal(error, module, example_inputs) from error


def functional_program(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    dynamic_shapes: ShapesCollection | None = None,
) -> ExportedProgram:
    """What torch.export makes of ``module``, with no operator that writes to its arguments."""
    shapes: Any = dynamic_shapes  # torch's annotation leaves out ShapesCollection
    program = functional(torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False))
    # What crosses a boundary becomes row-major: a view that relied on other strides is a copy
    # there. Without operators that write, the two are the same.
    for node in program.graph.nodes:
        if node.target in _VIEWS:
            node.target = torch.ops.aten.reshape.default
    return program


def _refuse_state(program: ExportedProgram) -> None:
    """Raises ModelError for a model that changes its own tensors, or draws random numbers."""
    changed = sorted(
        str(spec.target)
        for spec in program.graph_signature.output_specs
        if spec.kind in _STATE and spec.target is not None
    )
    if changed:
        raise ModelError(
            f"The model keeps state between calls ({', '.join(changed)}).",
            next_step="Return the state as an output and take it as an input.",
        )
    for node in program.graph.nodes:
        packet = getattr(node.target, "overloadpacket", None)
        if str(packet).removeprefix("aten.").removesuffix("_like") in _RANDOM:
            raise ModelError(
                f"The model draws random numbers ({packet}): head and tail would draw others.",
                next_step="Take them as an input.",
            )


def graph_of(module: fx.GraphModule, example_inputs: tuple[Tensor, ...]) -> Graph:
    """The Graph of a flat, functional GraphModule.

    Raises:
        ModelError: it returns something other than tensors.
    """
    placeholders = tuple(module.graph.find_nodes(op="placeholder"))
    leaves = pytree.tree_leaves(module.graph.output_node().args[0])
    outputs = tuple(leaf for leaf in leaves if leaf is not None)
    if any(_is_unsized(leaf) for leaf in outputs):
        raise ModelError(
            "The model returns a tensor whose size depends on the values of its input.",
            next_step="Return one of a fixed size, and a mask or a count beside it.",
        )
    if not outputs or not all(spec_of(leaf) for leaf in outputs):
        raise ModelError(
            "The model returns something other than tensors.",
            next_step="Wrap it so that forward() returns a tensor or a tuple of tensors.",
        )
    if len(set(outputs)) < len(outputs):
        raise ModelError("The model returns a tensor twice.", next_step="Return each tensor once.")
    # What depends on no input is as good as a parameter: it never crosses a boundary.
    varying = set(placeholders)
    for node in module.graph.nodes:
        if node.op == "call_function" and varying.intersection(node.all_input_nodes):
            varying.add(node)
    needed = set(outputs)  # an assertion, or a head that is not returned, is no work
    for node in reversed(module.graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    operators = tuple(
        node
        for node in module.graph.nodes
        if node.op == "call_function" and node in varying and node in needed
    )
    counter = _FlopsByNode(module)
    counter.count(example_inputs)
    return Graph(module, placeholders, operators, outputs, counter.flops, example_inputs)


def spec_of(node: Any) -> TensorSpec | None:
    """Name, dtype and shape of a node's value; None if it is not a tensor that may cross."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    if not isinstance(value, Tensor) or any(not isinstance(size, int) for size in value.shape):
        return None
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in ITEMSIZE or value.dim() > 8:
        return None
    known: DType = dtype  # type: ignore[assignment]  # ITEMSIZE's keys are DType's values
    return TensorSpec(name=node.name, dtype=known, shape=tuple(value.shape))


def flat_tensors(values: Any) -> tuple[Tensor, ...]:
    """Every tensor in a nest of tuples, lists, dicts and model outputs, in order."""
    return tuple(leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor))


def strip_provenance(graph: fx.Graph) -> None:
    """Drop metadata about where nodes came from, in place."""
    for node in graph.nodes:
        for key in PROVENANCE_KEYS:
            node.meta.pop(key, None)


class _FlopsByNode(fx.Interpreter):
    """Runs a graph on shapes alone, with torch's FLOP counter around each operator."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.flops: dict[fx.Node, int] = {}

    def count(self, example_inputs: tuple[Tensor, ...]) -> None:
        mode = torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)
        counter = FlopCounterMode(display=False, custom_mapping=_MORE_FORMULAS)
        # One counter for all: entering a mode is what costs, and totals only grow.
        with torch.no_grad(), mode, counter as self._counter:
            self.run(*(mode.from_tensor(tensor) for tensor in example_inputs))

    def run_node(self, n: fx.Node) -> Any:
        before = self._counter.get_total_flops()
        value = super().run_node(n)
        self.flops[n] = self._counter.get_total_flops() - before
        return value


def _is_unsized(leaf: object) -> bool:
    value = leaf.meta.get("val") if isinstance(leaf, fx.Node) else None
    return isinstance(value, Tensor) and not all(isinstance(size, int) for size in value.shape)
