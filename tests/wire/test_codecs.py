"""Each codec takes a boundary to the other side, and takes nothing else."""

import io

import numpy as np
import pytest
from PIL import Image

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import UnknownNameError, WireError
from mobilesplit.core.manifest import BundleCut, ImageInput, TextInput
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.wire.codecs import check, codecs_at, decode, encode, from_device
from mobilesplit.wire.frames import Blob
from mobilesplit.wire.images import normalise, to_pixels

IMAGE = ImageInput(height=8, width=6, resize_shorter=10, mean=(0.5,) * 3, std=(0.25,) * 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
INPUT = (TensorSpec(name="x", dtype="float32", shape=(1, 3, 8, 6)),)
MIXED = (
    TensorSpec(name="a", dtype="float32", shape=(2, 3)),
    TensorSpec(name="b", dtype="int64", shape=(4,)),
)
A = np.array([[0.1, 1, 2], [3, 4, 5]], np.float32)
B = np.arange(4)


def entry(cut_id, boundary):
    cut = Cut(id=cut_id, depth=0, boundary=boundary, head_flops=0, tail_flops=1)
    return BundleCut(cut=cut, method=None, first_stage=0, max_abs_error=0.0)


def test_each_cut_offers_what_fits_it():
    assert codecs_at(entry("input", INPUT), IMAGE) == ("raw", "fp16", "int8", "uint8", "original")
    assert codecs_at(entry("input", INPUT), None) == ("raw", "fp16", "int8")
    text = TextInput(tokenizer="tokenizer.json", length=4)
    assert codecs_at(entry("input", MIXED[1:]), text) == ("raw",)
    assert codecs_at(entry("mid", MIXED[1:]), IMAGE) == ("raw",)
    assert codecs_at(entry("output", MIXED), IMAGE) == ()


def test_raw_is_the_same_tensors():
    a, b = decode("raw", encode("raw", (A, B), MIXED), MIXED)
    np.testing.assert_array_equal(a, A)
    np.testing.assert_array_equal(b, B)


def test_fp16_halves_floats_and_leaves_the_rest():
    blobs = encode("fp16", (A, B), MIXED)
    assert [blob.nbytes for blob in blobs] == [12, 32]
    a, b = decode("fp16", blobs, MIXED)
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, A, rtol=1e-3)
    np.testing.assert_array_equal(b, B)


def test_fp16_refuses_what_would_become_infinite():
    with pytest.raises(WireError, match="does not fit into float16"):
        encode("fp16", (A * 1e6, B), MIXED)


def test_int8_sends_values_scale_and_zero_point_and_leaves_the_rest():
    blobs = encode("int8", (A, B), MIXED)
    assert [(blob.name, blob.array.dtype.name, blob.array.shape) for blob in blobs] == [
        ("a", "int8", (2, 3)),
        ("a.scale", "float64", (1,)),
        ("a.zero_point", "int64", (1,)),
        ("b", "int64", (4,)),
    ]
    a, b = decode("int8", blobs, MIXED)
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, A, atol=5 / 255 / 2 * 1.01)
    np.testing.assert_array_equal(b, B)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_int8_takes_every_float_and_gives_it_back(dtype):
    boundary = (TensorSpec(name="a", dtype=dtype, shape=(2, 3)),)
    (a,) = decode("int8", encode("int8", (A.astype(dtype),), boundary), boundary)
    assert a.dtype == dtype
    np.testing.assert_allclose(a, A, atol=5 / 255)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_int8_refuses_what_is_no_number(value):
    array = A.copy()
    array[1, 1] = value
    with pytest.raises(WireError, match="'a' does not fit into int8"):
        encode("int8", (array, B), MIXED)


def int8_blobs(values=np.zeros((2, 3), np.int8), scale=0.5, zero_point=0):
    return [
        Blob("a", values),
        Blob("a.scale", np.atleast_1d(np.asarray(scale))),
        Blob("a.zero_point", np.atleast_1d(np.asarray(zero_point))),
        Blob("b", B),
    ]


@pytest.mark.parametrize(
    ("blobs", "why"),
    [
        (int8_blobs()[:1] + int8_blobs()[3:], "2 tensors came"),
        (int8_blobs(np.zeros((2, 3), np.uint8)), "uint8"),
        (int8_blobs(np.zeros((3, 2), np.int8)), r"int8 \[3, 2\], not"),
        (int8_blobs(scale=[0.5, 0.5]), r"float64 \[2\], not"),
        (int8_blobs(scale=np.float32(0.5)), "float32"),
        (int8_blobs(zero_point=0.0), "float64"),
        (int8_blobs(scale=np.nan), "does not fit into int8"),
        (int8_blobs(scale=np.inf), "does not fit into int8"),
        (int8_blobs(scale=0.0), "not a positive float32"),
        (int8_blobs(scale=-1.0), "not a positive float32"),
        (int8_blobs(scale=1e300), "not a positive float32"),
        (int8_blobs(zero_point=128), "zero point of 'a' is 128"),
        (int8_blobs(zero_point=-(2**62)), "zero point of 'a' is -4611"),
    ],
)
def test_int8_parameters_that_no_tensor_has_are_refused(blobs, why):
    with pytest.raises(WireError, match=why):
        decode("int8", blobs, MIXED)


def test_the_devices_blobs_are_checked_as_received_ones_are():
    sent = encode("int8", (A, B), MIXED)
    assert from_device("int8", [blob.array for blob in sent], MIXED) == sent
    with pytest.raises(WireError, match="3 tensors came"):
        from_device("int8", [blob.array for blob in sent][:3], MIXED)
    with pytest.raises(WireError, match="'a' does not fit into float16"):
        from_device("fp16", (np.full((2, 3), np.inf, np.float16), B), MIXED)


def test_uint8_and_original_arrive_as_the_tensor_that_the_device_would_have_made():
    file = io.BytesIO()
    Image.fromarray(PIXELS).resize((60, 50)).save(file, "JPEG")
    pixels = to_pixels(file.getvalue(), IMAGE)
    expected = normalise(pixels, IMAGE)
    photo = np.frombuffer(file.getvalue(), np.uint8)
    for codec, source in (("uint8", pixels), ("original", photo)):
        (tensor,) = decode(codec, encode(codec, (source,), INPUT, IMAGE), INPUT, IMAGE)
        np.testing.assert_array_equal(tensor, expected)


@pytest.mark.parametrize(
    ("codec", "blobs", "boundary", "image", "why"),
    [
        ("raw", [Blob("a", A)], MIXED, None, "1 tensors came; the boundary has 2"),
        ("raw", [Blob("b", A), Blob("a", B)], MIXED, None, "'b' came where 'a'"),
        ("raw", [Blob("a", A.T), Blob("b", B)], MIXED, None, r"float32 \[3, 2\], not"),
        ("raw", [Blob("a", A), Blob("b", B.astype("int32"))], MIXED, None, "int32"),
        ("fp16", [Blob("a", A), Blob("b", B)], MIXED, None, "not float16"),
        ("uint8", [Blob("pixels", PIXELS[1:])], INPUT, IMAGE, r"\[7, 6, 3\], not"),
        ("uint8", [Blob("pixels", PIXELS)], INPUT, None, "takes photos"),
        ("uint8", [Blob("pixels", PIXELS)], MIXED, IMAGE, "does not fit the boundary"),
        ("original", [Blob("photo", PIXELS)], INPUT, IMAGE, "of one dimension"),
        ("original", [Blob("photo", PIXELS.reshape(-1))], INPUT, IMAGE, "not a JPEG or PNG"),
    ],
)
def test_what_is_not_the_boundary_is_refused(codec, blobs, boundary, image, why):
    with pytest.raises(WireError, match=why):
        decode(codec, blobs, boundary, image)


def test_encoding_checks_the_tensors_too():
    with pytest.raises(WireError, match="1 tensors came"):
        encode("raw", (A,), MIXED)
    with pytest.raises(UnknownNameError, match="fp16, int8, original, raw, uint8"):
        encode("zip", (A, B), MIXED)
    with pytest.raises(UnknownNameError):
        check("zip", [], INPUT, IMAGE)
