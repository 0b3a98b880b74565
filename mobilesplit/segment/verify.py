"""Head then tail against the whole model, in torch on this machine.

The rule: what is compared is flat tuples of tensors, and a NaN on one side only is an infinite
error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError
from mobilesplit.segment import split
from mobilesplit.segment.trace import Graph


def verify(graph: Graph, cuts: Sequence[Cut]) -> dict[str, float]:
    """Largest difference of head then tail to the whole, by cut id; 0.0 is expected.

    A cut whose head or tail cannot be built or run has an infinite difference.
    """
    # Each run has its own inputs, should the model write to them.
    whole = graph.run(*(tensor.clone() for tensor in graph.example_inputs))
    differences = {}
    for cut in cuts:
        try:
            inputs = [tensor.clone() for tensor in graph.example_inputs]
            boundary = split.run(split.head(graph, cut), inputs)
            differences[cut.id] = max_abs_error(split.run(split.tail(graph, cut), boundary), whole)
        except (ModelError, RuntimeError):
            differences[cut.id] = math.inf
    return differences


def max_abs_error(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest absolute difference of any element; infinite where shapes or counts differ."""
    if len(outputs) != len(expected):
        return math.inf
    largest = 0.0
    for one, other in zip(outputs, expected, strict=True):
        if one.shape != other.shape:
            return math.inf
        if one.numel() == 0 or torch.equal(one, other):
            continue
        # Equal infinities and NaN on both sides are no difference; subtracting would say NaN.
        same = (one == other) | (one.isnan() & other.isnan())
        difference = (one.double() - other.double()).abs().masked_fill(same, 0.0)
        worst = float(difference.nan_to_num(nan=math.inf, posinf=math.inf).max())
        largest = max(largest, worst)
    return largest


def max_relative_error(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """``max_abs_error`` of each output as a share of its largest element; the worst of them.

    Each output is measured by its own scale: a wrong one of 1e-5 does not hide behind one of 50.
    """
    if len(outputs) != len(expected):
        return math.inf
    return max(
        (
            max_abs_error([one], [other]) / _peak(other)
            for one, other in zip(outputs, expected, strict=True)
        ),
        default=0.0,
    )


def _peak(tensor: Tensor) -> float:
    """The largest finite absolute value; 1 where all are zero or there is none."""
    finite = tensor[tensor.isfinite()]
    return (float(finite.double().abs().max()) or 1.0) if finite.numel() else 1.0
