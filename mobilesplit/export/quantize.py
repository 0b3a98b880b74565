"""Float graph to int8 graph (PT2E, XNNPACK's quantizer), and what that makes of the cuts.

The rule: heads come from the int8 graph, tails from the float one. The int8 graph keeps the
names of the float one's operators, so a cut is found again by name; where its boundary is
quantized anyway, the head returns the int8 values, and whoever runs the tail makes them floats
(``wire.int8.floats_of``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, SharedQuantizationSpec
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from mobilesplit.core.cuts import INPUT, OUTPUT, Cut
from mobilesplit.core.errors import ModelError, first_line
from mobilesplit.core.manifest import Scale
from mobilesplit.segment import split
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph, graph_of, spec_of

_ATEN = torch.ops.aten
_QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
_QUANTIZE_DYNAMICALLY = torch.ops.quantized_decomposed.quantize_per_tensor.tensor
_CLAMPED = {
    _ATEN.conv1d.default,
    _ATEN.conv2d.default,
    _ATEN.convolution.default,
    _ATEN.conv_transpose2d.input,
    _ATEN.linear.default,
}
"""Operators that XNNPACK runs together with a clamp behind them."""
_JOINS = {_ATEN.add.Tensor, _ATEN.cat.default, _ATEN.mul.Tensor}
_FLOAT = {
    _ATEN.bmm.default,
    _ATEN.layer_norm.default,
    _ATEN.matmul.default,
    _ATEN.native_layer_norm.default,
    _ATEN.scaled_dot_product_attention.default,
    _ATEN.softmax.int,
    _ATEN._softmax.default,
}
"""Operators of attention that nobody here runs in 8 bits."""
_NEXT_STEP = "Export it without --quantize."


@dataclass(frozen=True)
class QuantizedCut:
    """A cut of the float graph in the int8 graph."""

    cut: Cut
    """The same place there: what the int8 head returns, in the order of ``float_cut``."""
    float_cut: Cut
    """The place in the float graph: what the float tail takes."""
    scales: tuple[Scale | None, ...]
    """By boundary tensor; None where it crosses unquantized."""


def quantize(graph: Graph, calibration: Iterable[Sequence[Tensor]]) -> Graph:
    """``graph`` in int8: weights per channel and symmetric, activations per tensor.

    The result stores each quantized weight once, as int8; biases and what XNNPACK's quantizer
    does not take stay float. ``graph`` and its weights are left as they are.

    Args:
        graph: at batch 1, its batch norms folded (``fold_batch_norms``).
        calibration: inputs to observe the activations' ranges with; one is the least.

    Raises:
        ModelError: torchao does not take the graph, or nothing in it was quantized.
    """
    # deepcopy takes what its memo says is copied already: float weights stay shared.
    weights = [*graph.module.parameters(), *graph.module.buffers()]
    module = copy.deepcopy(graph.module, {id(weight): weight for weight in weights})
    for clamp in module.graph.find_nodes(op="call_function", target=_ATEN.relu6.default):
        # The quantizer knows ReLU6 by this name only.
        clamp.target, clamp.args = _ATEN.hardtanh.default, (clamp.args[0], 0.0, 6.0)
    _fold_pads(module)
    config = get_symmetric_quantization_config(is_per_channel=True)
    try:
        with quiet(), torch.no_grad():
            module = prepare_pt2e(module, _Quantizer().set_global(config))
            for inputs in calibration:
                module(*inputs)
            module = convert_pt2e(module)
            _infer_values(module, graph.example_inputs)
    except Exception as error:
        reason = first_line(str(error)) or type(error).__name__
        raise ModelError(
            f"The model cannot be quantized: {reason}.", next_step=_NEXT_STEP
        ) from error
    if not any(node.target in (_QUANTIZE, _QUANTIZE_DYNAMICALLY) for node in module.graph.nodes):
        raise ModelError("Nothing in the model can be quantized.", next_step=_NEXT_STEP)
    return graph_of(module, graph.example_inputs)


def quantized_cuts(
    cuts: Iterable[Cut], converted: Graph
) -> tuple[list[QuantizedCut], list[tuple[str, str]]]:
    """``cuts`` of the float graph in ``converted``, and the ids of those left out, with why.

    ``input`` and ``output`` keep their float tensors; depths count what is kept.

    Raises:
        ModelError: ``input`` or ``output`` is not found again.
    """
    kept: list[QuantizedCut] = []
    dropped: list[tuple[str, str]] = []
    for cut in cuts:
        try:
            found = _found_again(cut, converted)
        except ModelError as error:
            if cut.id in (INPUT, OUTPUT):
                raise
            dropped.append((cut.id, f"cannot be cut in int8: {error.what}"))
            continue
        depth = {"depth": len(kept)}
        kept.append(
            QuantizedCut(
                cut=found.cut.model_copy(update=depth),
                float_cut=cut.model_copy(update=depth),
                scales=found.scales,
            )
        )
    return kept, dropped


def _fold_pads(module: fx.GraphModule) -> None:
    """Zeros that are added alike on both sides become the convolution's own padding.

    XNNPACK pads floats only: each pad left would cost a way to float and back.
    """
    for pad in module.graph.find_nodes(op="call_function", target=_ATEN.pad.default):
        added = _both_sides(pad)
        if added is None or not all(_pads_its_input(conv, pad) for conv in pad.users):
            continue
        for conv in list(pad.users):
            weight, bias, stride, own, *rest = (*conv.args, *_CONV2D[len(conv.args) :])[1:]
            padding = [sum(pair) for pair in zip(cast(list[int], own), added, strict=True)]
            conv.args = (pad.args[0], weight, bias, stride, padding, *rest)
        module.graph.erase_node(pad)
    module.recompile()


_CONV2D = (None, None, None, [1, 1], [0, 0], [1, 1], 1)
"""What conv2d's arguments are where they are left out: the fifth is the padding."""


def _both_sides(pad: fx.Node) -> list[int] | None:
    """Rows and columns of zeros on either side; None if the pad is of another kind."""
    amounts = cast(list[int], pad.args[1])
    if len(amounts) != 4 or not _pads_zeros(pad):
        return None
    left, right, top, bottom = amounts
    return [top, left] if left == right >= 0 and top == bottom >= 0 else None


def _pads_its_input(conv: fx.Node, pad: fx.Node) -> bool:
    if conv.target is not _ATEN.conv2d.default or conv.kwargs:
        return False
    return conv.args[0] is pad and conv.all_input_nodes.count(pad) == 1


class _Quantizer(XNNPACKQuantizer):  # type: ignore[misc]  # executorch has no types
    """XNNPACK's quantizer, but for what costs accuracy or time as it comes.

    It rounds a convolution's output to 8 bits before hardtanh clamps it: most of the range is
    then spent on values that the clamp throws away. It rounds what is padded with zeros once
    more, with another scale. It rounds sums for float operators, an attention's masked scores
    say, whose range is beyond 8 bits, and gives the activations of a transformer's linear
    layers a range for good, although a few of them are hundreds of times larger than the rest:
    here such layers round what they get by the range it has (dynamic quantization).
    """

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        floats = _left_in_float(model)
        if floats:
            dynamic = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
            self.set_operator_type(_ATEN.linear.default, dynamic)
        self.set_filter_function(lambda node: node not in floats)
        model = super().annotate(model)
        for node in model.graph.find_nodes(op="call_function", target=_ATEN.hardtanh.default):
            _clamp_before_rounding(node)
        for node in model.graph.find_nodes(op="call_function", target=_ATEN.pad.default):
            _pad_rounded(node)
        return model


def _left_in_float(model: fx.GraphModule) -> set[fx.Node]:
    """Float operators, and what is joined for one of them, at once or by way of another join."""
    floats: set[fx.Node] = set()
    for node in reversed(model.graph.nodes):
        if node.target in _FLOAT or (node.target in _JOINS and floats.intersection(node.users)):
            floats.add(node)
    return floats


def _clamp_before_rounding(clamp: fx.Node) -> None:
    """Quantize behind ``clamp`` instead of between it and the operator in front of it."""
    producer = cast(fx.Node, clamp.args[0])
    annotation = producer.meta.get(Q_ANNOTATION_KEY)
    if producer.target not in _CLAMPED or len(producer.users) > 1 or annotation is None:
        return
    if annotation.output_qspec is not None:
        clamp.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            output_qspec=annotation.output_qspec, _annotated=True
        )
        annotation.output_qspec = None


def _pad_rounded(pad: fx.Node) -> None:
    """What is padded with zeros keeps its scale: zero is always one of the rounded values."""
    source = cast(fx.Node, pad.args[0])
    annotation = source.meta.get(Q_ANNOTATION_KEY)
    if annotation is None or annotation.output_qspec is None or not _pads_zeros(pad):
        return
    shared = SharedQuantizationSpec(source)
    pad.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
        input_qspec_map={source: shared}, output_qspec=shared, _annotated=True
    )


def _pads_zeros(pad: fx.Node) -> bool:
    mode = pad.args[2] if len(pad.args) > 2 else "constant"
    value = pad.args[3] if len(pad.args) > 3 else None
    return mode == "constant" and not value


def _infer_values(module: fx.GraphModule, inputs: tuple[Tensor, ...]) -> None:
    """Fill in ``meta["val"]``, which the new operators lack."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    FakeTensorProp(module, mode).propagate(*inputs)


def _found_again(cut: Cut, converted: Graph) -> QuantizedCut:
    """``cut`` in the int8 graph, with each value as int8 that nothing behind it takes as float.

    Raises:
        ModelError: what crosses there does not divide the int8 graph.
    """
    if cut.id == INPUT:
        return _with_boundary(cut, converted.inputs)
    if cut.id == OUTPUT:
        return _with_boundary(cut, converted.outputs)
    values = _named(cut, converted)
    tail = split.tail(converted, _with_boundary(cut, values).cut)
    taken = tail.graph.find_nodes(op="placeholder")
    crossing = [_crosses_as(value, copy) for value, copy in zip(values, taken, strict=True)]
    return _with_boundary(cut, crossing)


def _named(cut: Cut, converted: Graph) -> list[fx.Node]:
    by_name = {node.name: node for node in (*converted.inputs, *converted.operators)}
    missing = [spec.name for spec in cut.boundary if spec.name not in by_name]
    if missing:
        raise ModelError(f"it has no value {', '.join(missing)}")
    return [by_name[spec.name] for spec in cut.boundary]


def _crosses_as(value: fx.Node, in_tail: fx.Node) -> fx.Node:
    """The int8 form of ``value`` if that is all that the tail takes of it; else itself."""
    users = {user.name for user in in_tail.users}
    forms = [user for user in value.users if user.target is _QUANTIZE and user.name in users]
    return forms[0] if len(forms) == len(users) == 1 else value


def _with_boundary(cut: Cut, values: Sequence[fx.Node]) -> QuantizedCut:
    """``cut`` with ``values`` of the int8 graph as its boundary there."""
    specs = tuple(spec for spec in map(spec_of, values) if spec is not None)
    if [spec.shape for spec in specs] != [spec.shape for spec in cut.boundary]:
        raise ModelError("a value that crosses has another form there")
    return QuantizedCut(
        cut=cut.model_copy(update={"boundary": specs}),
        float_cut=cut,
        scales=tuple(map(_scale_of, values)),
    )


def _scale_of(value: fx.Node) -> Scale | None:
    if value.target is not _QUANTIZE:
        return None
    scale, zero_point = cast(tuple[Any, Any], value.args[1:3])
    return Scale(scale=float(scale), zero_point=int(zero_point))
