"""Floats as 8-bit integers with one scale and one zero point a tensor. Pure.

The rule: ``value = (q - zero_point) * scale``, q from -128 to 127. Scale and zero point come from
the tensor's least and largest value, 0 included, as torch's quantized_decomposed operators define
them; `export.encoders` does the same on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mobilesplit.core.errors import WireError
from mobilesplit.core.manifest import Scale
from mobilesplit.core.results import Array

MIN, MAX = -128, 127
SMALLEST_SCALE = 2.0**-100
"""Scale of a tensor of zeros; its reciprocal is finite in float32."""


def quantize(name: str, tensor: Array) -> tuple[Array, Array, Array]:
    """int8 values of the tensor's shape, float64 scale (1,), int64 zero point (1,).

    Raises:
        WireError: for a tensor with NaN, infinity or values too far apart; ``name`` names it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        floats = tensor.astype(np.float32, copy=False)
        # NaN passes through both, and comes out as a scale that is no number.
        low = np.minimum(floats.min(), np.float32(0))
        high = np.maximum(floats.max(), np.float32(0))
        scale = np.maximum((high - low) / np.float32(MAX - MIN), np.float32(SMALLEST_SCALE))
    if not np.isfinite(scale):
        raise _does_not_fit(name)
    zero_point = np.clip(MIN - np.rint(low / scale), MIN, MAX).astype(np.int64)
    values = np.clip(np.rint(floats * (np.float32(1) / scale)) + zero_point, MIN, MAX)
    return (
        values.astype(np.int8),
        np.array([scale], np.float64),
        zero_point.reshape(1),
    )


def dequantize(values: Array, scale: Array, zero_point: Array, dtype: str) -> Array:
    """The floats, as ``dtype``, of what `quantize` returned and `check_parameters` passed."""
    steps = values.astype(np.float32) - np.float32(zero_point[0])
    return (steps * np.float32(scale[0])).astype(dtype, copy=False)


def floats_of(boundary: Sequence[Array], scales: Sequence[Scale | None]) -> tuple[Array, ...]:
    """What an int8 head's boundary stands for, float32; tensors without a scale as they are.

    Args:
        scales: one a tensor, or none at all (float heads).
    """
    if not scales:
        return tuple(boundary)
    return tuple(
        tensor
        if scale is None
        else (tensor.astype(np.float32) - np.float32(scale.zero_point)) * np.float32(scale.scale)
        for tensor, scale in zip(boundary, scales, strict=True)
    )


def check_parameters(name: str, scale: Array, zero_point: Array) -> None:
    """Raises WireError for a scale or zero point that no tensor of floats has."""
    if not np.isfinite(scale).all():
        raise _does_not_fit(name)
    if not 0 < scale[0] <= np.finfo(np.float32).max:
        raise WireError(f"The scale of {name!r} is {scale[0]:g}, not a positive float32.")
    if not MIN <= zero_point[0] <= MAX:
        raise WireError(f"The zero point of {name!r} is {zero_point[0]}, not {MIN} to {MAX}.")


def _does_not_fit(name: str) -> WireError:
    return WireError(
        f"A value of {name!r} does not fit into int8: it is no number, or too large.",
        next_step="Use the codec raw.",
    )
