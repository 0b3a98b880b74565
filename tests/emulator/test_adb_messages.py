from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilesplit.emulator.adb_messages import (
    HEADER_NBYTES,
    MAX_PAYLOAD_NBYTES,
    VERSION,
    VERSION_WITH_CHECKSUM,
    AdbProtocolError,
    Command,
    Message,
    byte_sum,
    complete,
    decode_header,
    encode,
)

ids = st.integers(0, 0xFFFFFFFF)
ordinary = st.sampled_from([Command.OPEN, Command.OKAY, Command.CLSE, Command.WRTE])


@given(ordinary, ids, ids, st.binary(max_size=5000), st.sampled_from([0x01000000, 0x01000001]))
def test_what_is_encoded_comes_back(
    command: Command, arg0: int, arg1: int, payload: bytes, version: int
) -> None:
    message = Message(command, arg0, arg1, payload)
    data = encode(message, version=version)
    header = decode_header(data[:HEADER_NBYTES], max_payload_nbytes=MAX_PAYLOAD_NBYTES)
    assert complete(header, data[HEADER_NBYTES:], version=version) == message


@given(st.binary(max_size=3000))
def test_the_check_is_the_sum_of_the_bytes(payload: bytes) -> None:
    assert byte_sum(payload) == sum(payload)


def test_the_check_of_the_brightest_bytes_does_not_overflow() -> None:
    assert byte_sum(b"\xff" * 100_000) == 255 * 100_000


@given(st.binary(min_size=24, max_size=24))
def test_any_24_bytes_are_a_header_within_limits_or_an_error(data: bytes) -> None:
    try:
        header = decode_header(data, max_payload_nbytes=4096)
    except AdbProtocolError:
        return
    assert header.payload_nbytes <= 4096


def test_golden_bytes_of_a_write() -> None:
    data = encode(Message(Command.WRTE, 1, 2, b"hi"), version=VERSION_WITH_CHECKSUM)
    assert (
        data
        == b"WRTE"
        + struct.pack("<4I", 1, 2, 2, ord("h") + ord("i"))
        + bytes.fromhex("a8adabba")
        + b"hi"
    )
    assert encode(Message(Command.WRTE, 1, 2, b"hi"), version=VERSION)[16:20] == bytes(4)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        (5, 0x12345678, "magic"),
        (3, MAX_PAYLOAD_NBYTES + 1, "announces"),
        (3, 0xFFFFFFFF, "announces"),
    ],
)
def test_a_wrong_header_is_refused(field: int, value: int, complaint: str) -> None:
    fields = list(struct.unpack("<6I", encode(Message(Command.WRTE, 1, 2), version=VERSION)))
    fields[field] = value
    with pytest.raises(AdbProtocolError, match=complaint):
        decode_header(struct.pack("<6I", *fields), max_payload_nbytes=MAX_PAYLOAD_NBYTES)


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(AdbProtocolError, match="unknown command"):
        decode_header(
            struct.pack("<6I", 7, 0, 0, 0, 0, 7 ^ 0xFFFFFFFF), max_payload_nbytes=MAX_PAYLOAD_NBYTES
        )


def test_a_handshake_is_limited_to_4096_bytes() -> None:
    data = encode(Message(Command.CNXN, 0, 0, bytes(4097)), version=VERSION)
    with pytest.raises(AdbProtocolError, match="4096"):
        decode_header(data[:HEADER_NBYTES], max_payload_nbytes=MAX_PAYLOAD_NBYTES)


def test_a_wrong_byte_sum_is_refused() -> None:
    data = encode(Message(Command.WRTE, 1, 2, b"hi"), version=VERSION_WITH_CHECKSUM)
    header = decode_header(data[:HEADER_NBYTES], max_payload_nbytes=MAX_PAYLOAD_NBYTES)
    with pytest.raises(AdbProtocolError, match="byte sum"):
        complete(header, b"ho", version=VERSION_WITH_CHECKSUM)
