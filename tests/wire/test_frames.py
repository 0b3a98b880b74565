"""A frame is exactly its bytes: golden bytes, a round trip, and one test per way to be wrong."""

import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mobilesplit.core.errors import WireError
from mobilesplit.wire.frames import (
    MAX_BLOBS,
    MAX_HEADER_NBYTES,
    Blob,
    WireVersionError,
    decode_frame,
    encode_frame,
)

BODY = msgspec.msgpack.encode({"id": 7})
GOLDEN = (
    b"MSPL\x01\x03\x00\x00\x15\x00\x00\x00"  # magic, version 1, kind 3, reserved, header length 21
    b"\x92\x81\xa2id\x07"  # [{"id": 7},
    b"\x91\x93\xa1x\xa7float32\x92\x01\x02"  # [["x", "float32", [1, 2]]]]
    + bytes(31)
    + struct.pack("<2f", 1.0, -2.0)
)


def test_the_golden_frame_encodes_to_its_bytes():
    blob = Blob("x", np.array([[1.0, -2.0]], np.float32))
    assert encode_frame(3, BODY, [blob]) == GOLDEN


def test_the_golden_bytes_decode_to_the_frame():
    frame = decode_frame(GOLDEN)
    assert (frame.kind, frame.body, frame.blobs[0].name) == (3, BODY, "x")
    np.testing.assert_array_equal(frame.blobs[0].array, [[1.0, -2.0]])


_dtypes = st.sampled_from(
    ["float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]
).map(np.dtype)
_arrays = _dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5))
)


@settings(max_examples=100, deadline=None)
@given(arrays=st.lists(_arrays, max_size=4), kind=st.integers(0, 255))
def test_what_goes_in_comes_out(arrays, kind):
    blobs = [Blob(f"t{i}", array) for i, array in enumerate(arrays)]
    data = encode_frame(kind, BODY, blobs)
    frame = decode_frame(data)
    assert (frame.kind, frame.body) == (kind, BODY)
    for sent, received in zip(blobs, frame.blobs, strict=True):
        assert (received.name, received.array.dtype) == (sent.name, sent.array.dtype)
        assert received.array.shape == sent.array.shape
        assert received.array.tobytes() == sent.array.tobytes()


def test_blobs_are_aligned_read_only_views():
    data = encode_frame(1, BODY, [Blob("a", np.arange(3)), Blob("b", np.arange(5))])
    start = np.frombuffer(data, np.uint8).ctypes.data
    for blob in decode_frame(data).blobs:
        assert (blob.array.ctypes.data - start) % 64 == 0
        assert not blob.array.flags.writeable
        assert not blob.array.flags.owndata


def test_a_transposed_array_is_sent_in_row_major_order():
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    received = decode_frame(encode_frame(1, BODY, [Blob("a", array)])).blobs[0].array
    np.testing.assert_array_equal(received, array)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_a_wire_error(data):
    with pytest.raises(WireError):
        decode_frame(data)


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(GOLDEN) - 1), value=st.integers(0, 255))
def test_a_changed_byte_is_a_wire_error_or_another_frame(position, value):
    changed = bytearray(GOLDEN)
    changed[position] = value
    try:
        frame = decode_frame(bytes(changed))
    except WireError:
        return
    assert sum(blob.nbytes for blob in frame.blobs) <= len(GOLDEN)


def frame_of(header, rest=b"", *, magic=b"MSPL", version=1, reserved=0, claims=None):
    encoded = header if isinstance(header, bytes) else msgspec.msgpack.encode(header)
    claims = len(encoded) if claims is None else claims
    prefix = struct.pack("<4sBBHI", magic, version, 1, reserved, claims)
    data = prefix + encoded
    return data + bytes(-len(data) % 64) + rest if rest else data


def blob_of(*spec, rest=b"\x00" * 8):
    return frame_of([{}, [list(spec)]], rest)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "its prefix alone is 12"),
        (GOLDEN[:11], "its prefix alone is 12"),
        (frame_of([{}], magic=b"HTTP"), "starts with b'HTTP'"),
        (frame_of([{}], reserved=1), "reserved field is 1"),
        (frame_of([{}], claims=MAX_HEADER_NBYTES + 1), "claims 65537 bytes; at most 65536"),
        (frame_of([{}], claims=1000), "claims 1000 bytes; the frame ends before"),
        (frame_of(b"\xc1\xc1"), "header is invalid"),
        (frame_of({"body": {}}), "header is invalid"),
        (frame_of([{}, [], "more"]), "header is invalid"),
        (frame_of(b"\x92\x80\x91\x93\xa1\xff\xa5uint8\x91\x01"), "header is invalid"),
        (blob_of("x", "complex64", [1]), "header is invalid"),
        (blob_of("x", "uint8", [8], "more"), "header is invalid"),
        (blob_of("x" * 257, "uint8", [8]), "header is invalid"),
        (blob_of("x", "uint8", [0]), "header is invalid"),
        (blob_of("x", "uint8", [-8]), "header is invalid"),
        (blob_of("x", "uint8", [2**31]), "header is invalid"),
        (blob_of("x", "uint8", [8.0]), "header is invalid"),
        (blob_of("x", "uint8", [1] * 9), "header is invalid"),
        (blob_of("x", "uint8", [9]), "claims 9 bytes; 8 are left"),
        (blob_of("x", "float64", [2**31 - 1] * 8), "8 are left"),
        (blob_of("x", "uint8", [7]), "1 bytes follow the last blob"),
        (frame_of([{}]) + b"\x00", "1 bytes follow the last blob"),
        (frame_of([{}, [["x", "uint8", [1]]] * (MAX_BLOBS + 1)]), "header is invalid"),
        (blob_of("x", "bool", [8], rest=b"\x02" + bytes(7)), "bytes other than 0 and 1"),
        (GOLDEN[:40] + b"\x01" + GOLDEN[41:], "padding is not zero"),
    ],
)
def test_an_invalid_frame_says_why_in_one_line(data, why):
    with pytest.raises(WireError) as caught:
        decode_frame(data)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_version_is_told_apart():
    with pytest.raises(WireVersionError, match="version 2; this side speaks 1"):
        decode_frame(frame_of([{}], version=2))


def test_a_frame_over_the_limit_is_refused():
    with pytest.raises(WireError, match="at most 71 are accepted"):
        decode_frame(GOLDEN, max_nbytes=len(GOLDEN) - 1)


@pytest.mark.parametrize(
    ("blobs", "why"),
    [
        ([Blob("x", np.zeros(1, np.complex64))], "complex64"),
        ([Blob("x", np.zeros((2, 0), np.float32))], "empty"),
        ([Blob("x", np.zeros(1))] * (MAX_BLOBS + 1), f"at most {MAX_BLOBS} blobs"),
    ],
)
def test_what_a_frame_does_not_carry_is_refused_when_encoding(blobs, why):
    with pytest.raises(WireError, match=why):
        encode_frame(1, BODY, blobs)
