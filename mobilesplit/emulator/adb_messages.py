"""The adb message: 24 bytes of header, then a payload. Pure: bytes in, messages out.

Rule: a header is judged (magic, command, length) before anything is allocated for its payload.
Source: AOSP packages/modules/adb/protocol.txt.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

HEADER_NBYTES = 24
VERSION_WITH_CHECKSUM = 0x01000000
VERSION = 0x01000001
"""Newest version we speak; from it on the check field is 0."""
MAX_PAYLOAD_NBYTES = 1024 * 1024
MAX_HANDSHAKE_NBYTES = 4096
"""Limit of CNXN and AUTH payloads, whatever was negotiated."""
MIN_PAYLOAD_NBYTES = 4096
"""What the oldest peers take; less would not hold our own banner."""

_HEADER = struct.Struct("<6I")


class Command(IntEnum):
    """The four letters of a message, little-endian."""

    CNXN = 0x4E584E43
    AUTH = 0x48545541
    OPEN = 0x4E45504F
    OKAY = 0x59414B4F
    CLSE = 0x45534C43
    WRTE = 0x45545257
    STLS = 0x534C5453


class AdbProtocolError(Exception):
    """The peer sent something that is not adb; the connection is closed."""


@dataclass(frozen=True)
class Header:
    """A judged header: ``payload_nbytes`` is within the limit."""

    command: Command
    arg0: int
    arg1: int
    payload_nbytes: int
    check: int


@dataclass(frozen=True)
class Message:
    """One message; what the arguments mean depends on the command."""

    command: Command
    arg0: int
    arg1: int
    payload: bytes = b""


def byte_sum(payload: bytes) -> int:
    """Sum of all bytes modulo 2^32, the check of versions below 0x01000001.

    adler32 started at 0 holds the plain sum in its low half as long as that stays below
    65521, which 256 bytes always do: five times as fast as ``sum``.
    """
    view = memoryview(payload)
    pieces = (view[start : start + 256] for start in range(0, len(view), 256))
    return sum(zlib.adler32(piece, 0) & 0xFFFF for piece in pieces) & 0xFFFFFFFF


def encode_header(message: Message, *, version: int) -> bytes:
    """The 24 bytes that go before ``message.payload``."""
    check = byte_sum(message.payload) if version < VERSION else 0
    command = int(message.command)
    return _HEADER.pack(
        command, message.arg0, message.arg1, len(message.payload), check, command ^ 0xFFFFFFFF
    )


def encode(message: Message, *, version: int) -> bytes:
    """The whole message."""
    return encode_header(message, version=version) + message.payload


def decode_header(data: bytes, *, max_payload_nbytes: int) -> Header:
    """Judge a header of exactly 24 bytes.

    Raises:
        AdbProtocolError: wrong magic, unknown command, or a payload over the limit.
    """
    if len(data) != HEADER_NBYTES:
        raise AdbProtocolError(f"header of {len(data)} bytes")
    number, arg0, arg1, payload_nbytes, check, magic = _HEADER.unpack(data)
    if magic != number ^ 0xFFFFFFFF:
        raise AdbProtocolError(f"magic {magic:#x} does not fit command {number:#x}")
    try:
        command = Command(number)
    except ValueError:
        raise AdbProtocolError(f"unknown command {number:#x}") from None
    limit = max_payload_nbytes
    if command in (Command.CNXN, Command.AUTH):
        limit = MAX_HANDSHAKE_NBYTES
    if payload_nbytes > limit:
        raise AdbProtocolError(f"{command.name} announces {payload_nbytes} bytes, limit {limit}")
    return Header(command, arg0, arg1, payload_nbytes, check)


def complete(header: Header, payload: bytes, *, version: int) -> Message:
    """Put a header and its payload together, verifying the check where the version has one.

    Raises:
        AdbProtocolError: the byte sum is wrong.
    """
    assert len(payload) == header.payload_nbytes
    if version < VERSION and header.check != byte_sum(payload):
        raise AdbProtocolError(f"{header.command.name} with a wrong byte sum")
    return Message(header.command, header.arg0, header.arg1, payload)
