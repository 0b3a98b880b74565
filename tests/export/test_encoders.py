"""An encoder on the device returns what the wire's codec sends, in both runners' ExecuTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from executorch.exir import EdgeProgramManager, to_edge
from executorch.runtime import Runtime

from mobilesplit.core.errors import UnknownNameError, WireError
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.export.encoders import encoder_name, encoder_program
from mobilesplit.export.settings import DEVICE_CODECS
from mobilesplit.wire import int8
from mobilesplit.wire.codecs import decode, encode, expected_blobs, from_device

FLOAT = (TensorSpec(name="a", dtype="float32", shape=(1, 4, 5)),)
MIXED = (
    TensorSpec(name="a", dtype="float32", shape=(1, 4, 5)),
    TensorSpec(name="b", dtype="int64", shape=(1, 3)),
    TensorSpec(name="c", dtype="float64", shape=(1,)),
)
A = np.random.default_rng(0).normal(size=(1, 4, 5)).astype(np.float32)
MIXED_ARRAYS = (A, np.arange(3).reshape(1, 3), np.array([2.5]))


@pytest.fixture(scope="module")
def methods():
    """Every codec of both boundaries, lowered without a delegate and loaded by the runtime."""
    programs = {
        encoder_name(codec, boundary): encoder_program(codec, boundary)
        for codec in DEVICE_CODECS
        for boundary in (FLOAT, MIXED)
    }
    edge = to_edge(programs)
    # As export does it: edge programs of several origins, put together.
    manager = EdgeProgramManager({name: edge.exported_program(name) for name in programs})
    content = bytes(manager.to_executorch().buffer)
    program = Runtime.get().load_program(content)
    yield {name: program.load_method(name) for name in programs}
    del content  # the runtime holds no reference of its own


def on_device(methods, codec, arrays, boundary):
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    outputs = methods[encoder_name(codec, boundary)].execute(tensors)
    return tuple(output.numpy().copy() for output in outputs)


@pytest.mark.parametrize("codec", DEVICE_CODECS)
def test_the_device_returns_the_codecs_blobs_in_order(methods, codec):
    outputs = on_device(methods, codec, MIXED_ARRAYS, MIXED)
    specs = expected_blobs(codec, MIXED, None)
    assert [(o.dtype.name, o.shape) for o in outputs] == [(s.dtype, s.shape) for s in specs]
    sent = encode(codec, MIXED_ARRAYS, MIXED)
    for blob, array in zip(sent, outputs, strict=True):
        np.testing.assert_allclose(array, blob.array, atol=1 if array.dtype == np.int8 else 1e-7)
    decoded = decode(codec, from_device(codec, outputs, MIXED), MIXED)
    for array, tensor in zip(MIXED_ARRAYS, decoded, strict=True):
        np.testing.assert_allclose(tensor, array, atol=np.ptp(A) / 255)


ARRAYS = pytest.mark.parametrize(
    "array",
    [
        pytest.param(A * 1e-3, id="small"),
        pytest.param(A * np.float32(1e-12), id="tiny"),
        pytest.param(A + 100, id="far from zero"),
        pytest.param(np.zeros_like(A), id="zeros"),
        pytest.param(np.full_like(A, 3), id="constant"),
        pytest.param(np.full_like(A, -3), id="negative constant"),
        pytest.param(A * np.float32(1e37), id="large"),
    ],
)


@ARRAYS
def test_int8_on_the_wire_is_within_a_step_of_torchs_operators(array):
    blobs = encode("int8", (array,), FLOAT)
    tensor = torch.from_numpy(array)
    quantized = torch.ops.quantized_decomposed
    scale, zero_point = quantized.choose_qparams.tensor(
        tensor, int8.MIN, int8.MAX, int8.SMALLEST_SCALE, torch.int8
    )
    values = quantized.quantize_per_tensor.tensor(
        tensor, scale, zero_point, int8.MIN, int8.MAX, torch.int8
    )
    np.testing.assert_allclose(blobs[0].array, values.numpy(), atol=1)
    np.testing.assert_allclose(blobs[1].array, scale.numpy(), rtol=1e-6)
    np.testing.assert_allclose(blobs[2].array, zero_point.numpy(), atol=1)


@ARRAYS
def test_int8_on_the_device_is_within_a_step_of_the_wire(methods, array):
    values, scale, zero_point = on_device(methods, "int8", (array,), FLOAT)
    blobs = encode("int8", (array,), FLOAT)
    np.testing.assert_allclose(values, blobs[0].array, atol=1)
    np.testing.assert_allclose(scale, blobs[1].array, rtol=1e-6)
    np.testing.assert_allclose(zero_point, blobs[2].array, atol=1)
    (decoded,) = decode("int8", blobs, FLOAT)
    np.testing.assert_allclose(decoded, array, atol=scale[0] * 0.501, rtol=1e-6)


@pytest.mark.parametrize(
    ("codec", "value"),
    [("fp16", 1e6), ("fp16", -np.inf), ("int8", np.nan), ("int8", np.inf), ("int8", -np.inf)],
)
def test_what_a_codec_cannot_carry_is_refused_after_the_device(methods, codec, value):
    array = A.copy()
    array[0, 1, 2] = value
    outputs = on_device(methods, codec, (array,), FLOAT)
    with pytest.raises(WireError, match=r"'a' does not fit into .*Use the codec raw\."):
        from_device(codec, outputs, FLOAT)


def test_boundaries_that_look_alike_share_an_encoder():
    renamed = (TensorSpec(name="other", dtype="float32", shape=(1, 4, 5)),)
    assert encoder_name("int8", FLOAT) == encoder_name("int8", renamed) == "encode_int8_1x4x5"
    assert encoder_name("fp16", MIXED) == "encode_fp16_1x4x5_int64_1x3_float64_1"
    scalar = (TensorSpec(name="s", dtype="float32", shape=()),)
    assert encoder_name("fp16", scalar) == "encode_fp16_scalar"


def test_a_codec_without_an_encoder_is_named():
    with pytest.raises(UnknownNameError, match="fp16, int8"):
        encoder_program("original", FLOAT)
