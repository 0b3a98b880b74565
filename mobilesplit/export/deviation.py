"""How far a lossy step - int8 heads, a codec - moves the model's outputs, as a Deviation.

The rule: the whole float model's outputs are the signal, every difference to them is noise, and
an output that is not a number is the worst there is, never left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mobilesplit.core.manifest import Deviation
from mobilesplit.segment.verify import max_abs_error

MAX_SNR_DB = 200.0
"""What equal outputs get; the ratio would be infinite. ``-MAX_SNR_DB`` stands for the worst."""

_LARGEST_ERROR = float(torch.finfo(torch.float64).max)
"""Stands for an infinite error, which JSON cannot write."""


def deviation(
    outputs: Sequence[Sequence[Tensor]], expected: Sequence[Sequence[Tensor]]
) -> Deviation:
    """How far ``outputs`` lie from ``expected``, the float model's, over all inputs.

    Args:
        outputs: for each input, the model's flat outputs with the lossy step.
        expected: for each input, the float model's; same order.

    An element that is NaN or infinite in one of them only makes the error the largest double and
    the ratio -200 dB; one that is the same in both is left out of the ratio.
    """
    assert len(outputs) == len(expected) > 0
    worst = max(max_abs_error(one, other) for one, other in zip(outputs, expected, strict=True))
    if math.isinf(worst):
        snr_db = -MAX_SNR_DB
    else:
        # Each output by itself: a small one must not drown in the signal of a large one.
        snr_db = min(
            _ratio_db(*_energies(tensors, references))
            for tensors, references in zip(
                zip(*outputs, strict=True), zip(*expected, strict=True), strict=True
            )
        )
    return Deviation(
        num_inputs=len(outputs),
        max_abs_error=min(worst, _LARGEST_ERROR),
        snr_db=snr_db,
        top1_agreement=_top1_agreement(outputs, expected),
    )


def _energies(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> tuple[float, float]:
    """Sums of squares of what is expected of one output, and of the differences to it."""
    signal = noise = 0.0
    for tensor, reference in zip(outputs, expected, strict=True):
        finite = reference.isfinite()
        known = reference[finite].double()
        signal += float(known.square().sum())
        noise += float((tensor[finite].double() - known).square().sum())
    return signal, noise


def _ratio_db(signal: float, noise: float) -> float:
    if noise == 0:
        return MAX_SNR_DB
    ratio = signal / noise
    if not ratio > 0:  # no signal, or sums beyond what a double holds
        return -MAX_SNR_DB
    return max(-MAX_SNR_DB, min(MAX_SNR_DB, 10 * math.log10(ratio)))


def _top1_agreement(
    outputs: Sequence[Sequence[Tensor]], expected: Sequence[Sequence[Tensor]]
) -> float | None:
    """Share of inputs whose largest output is the same element; None where it is no 1 x N row."""
    if not all(_is_row_of_scores(tensors) for tensors in expected):
        return None
    agreeing = 0
    for (tensor, *_), (reference, *_) in zip(outputs, expected, strict=True):
        agreeing += tensor.shape == reference.shape and _top1(tensor) == _top1(reference)
    return agreeing / len(expected)


def _is_row_of_scores(tensors: Sequence[Tensor]) -> bool:
    return (
        len(tensors) == 1
        and tensors[0].dim() == 2
        and tensors[0].shape[0] == 1
        and tensors[0].shape[1] > 1
        and tensors[0].is_floating_point()
    )


def _top1(scores: Tensor) -> int | None:
    """Index of the largest score; None if there is none because of a NaN."""
    return None if scores.isnan().any() else int(scores.argmax())
