"""A codec's encoding as a program of its own: a boundary in, the codec's blobs out.

The rule: what an encoder returns is what `wire.codecs.encode` would send, blob by blob in the
order of `wire.codecs.expected_blobs`. Values that the codec cannot carry are not refused on the
device: they leave an infinite half or a scale that is no number, which `wire.codecs` refuses.

Lowering, and running with ExecuTorch in Python, need what this module imports: the kernels of the
quantized operators and their out variants. ``to_edge`` is enough; it takes some 0.5 s a program,
whatever the shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import executorch.kernels.quantized  # noqa: F401  # registers kernels and out variants
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from torch import Tensor, nn
from torch.export import ExportedProgram

from mobilesplit.core.errors import UnknownNameError
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.export.settings import DEVICE_CODECS
from mobilesplit.wire import int8


def encoder_name(codec: str, boundary: Sequence[TensorSpec]) -> str:
    """A method name that says codec, dtypes (unless float32) and shapes, and nothing else.

    ``encode_int8_1x80x14x14``; several tensors are joined: ``encode_fp16_1x64_int64_1x8``.
    """
    parts = ["encode", codec]
    for spec in boundary:
        if spec.dtype != "float32":
            parts.append(spec.dtype)
        parts.append("x".join(map(str, spec.shape)) or "scalar")
    return "_".join(parts)


def encoder_program(codec: str, boundary: Sequence[TensorSpec]) -> ExportedProgram:
    """The encoder of ``codec`` for tensors of the boundary's dtypes and shapes, batch 1.

    Raises:
        UnknownNameError: for a codec without an encoder.
    """
    return encoders_program([(codec, boundary)])


def encoders_program(
    encoders: Sequence[tuple[str, Sequence[TensorSpec]]],
) -> ExportedProgram:
    """Several encoders side by side: all their inputs in, all their blobs out, in order.

    Lowering costs half a second a program, whatever is in it.

    Raises:
        UnknownNameError: for a codec without an encoder.
    """
    kinds: dict[str, type[nn.Module]] = {"fp16": _Fp16, "int8": _Int8}
    for codec, _ in encoders:
        if codec not in kinds:
            raise UnknownNameError("codec with an encoder", codec, DEVICE_CODECS)
    side_by_side = _SideBySide([(kinds[codec](), len(boundary)) for codec, boundary in encoders])
    example = tuple(
        torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype))
        for _, boundary in encoders
        for spec in boundary
    )
    with torch.no_grad():
        return torch.export.export(side_by_side, example, strict=False)


class _SideBySide(nn.Module):
    def __init__(self, parts: Sequence[tuple[nn.Module, int]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(part for part, _ in parts)
        self.num_inputs = [count for _, count in parts]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        blobs: list[Tensor] = []
        rest = list(tensors)
        for part, count in zip(self.parts, self.num_inputs, strict=True):
            blobs += part(*rest[:count])
            del rest[:count]
        return tuple(blobs)


class _Fp16(nn.Module):
    def forward(self, *boundary: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            # A copy always: a method may not return what it was given.
            tensor.to(torch.float16, copy=True) if tensor.is_floating_point() else tensor.clone()
            for tensor in boundary
        )


class _Int8(nn.Module):
    def forward(self, *boundary: Tensor) -> tuple[Tensor, ...]:
        blobs: list[Tensor] = []
        for tensor in boundary:
            blobs += _quantize(tensor) if tensor.is_floating_point() else (tensor.clone(),)
        return tuple(blobs)


def _quantize(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """int8 values, float64 scale and int64 zero point, the latter two of shape (1,).

    The scale is worked out here and not by ``choose_qparams``: on the device that operator takes
    no scale under 6.1e-5, which leaves small activations a few steps, and overlooks a NaN. Time
    is the same (2.2 ms for 1x64x112x112 on one x86-64 thread); plain ATen operators for the
    second half too take 5.5 ms.
    """
    tensor = tensor.to(torch.float32)
    low = tensor.amin().clamp(max=0.0).reshape(1)
    high = tensor.amax().clamp(min=0.0).reshape(1)
    scale = ((high - low) / (int8.MAX - int8.MIN)).clamp(min=int8.SMALLEST_SCALE)
    zero_point = (int8.MIN - torch.round(low / scale)).clamp(int8.MIN, int8.MAX)
    scale, zero_point = scale.to(torch.float64), zero_point.to(torch.int64)
    values = torch.ops.quantized_decomposed.quantize_per_tensor.tensor(
        tensor, scale, zero_point, int8.MIN, int8.MAX, torch.int8
    )
    return values, scale, zero_point
