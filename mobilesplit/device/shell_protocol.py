"""Packets inside adb's ``shell,v2`` streams (AOSP adb, shell_protocol.h). Sans-I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from mobilesplit.core.errors import DeviceError

_HEADER = struct.Struct("<BI")
_MAX_PACKET_BYTES = 4 * 1024 * 1024


class StreamId(IntEnum):
    """First byte of a packet."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4
    WINDOW_SIZE = 5


class Packet(NamedTuple):
    """One packet of a shell stream."""

    stream: StreamId
    data: bytes


def encode_packet(stream: StreamId, data: bytes | memoryview) -> bytes:
    """A packet as bytes."""
    return _HEADER.pack(stream, len(data)) + bytes(data)


class ShellDecoder:
    """Finds packets in a stream that arrives in arbitrary pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Add bytes; yields each packet that they complete.

        Raises:
            DeviceError: for an unknown stream, or a length over the limit.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            stream, nbytes = _HEADER.unpack_from(self._buffer)
            if stream not in StreamId.__members__.values() or nbytes > _MAX_PACKET_BYTES:
                raise DeviceError(f"broken shell packet: stream {stream}, {nbytes} bytes.")
            end = _HEADER.size + nbytes
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[_HEADER.size : end])
            del self._buffer[:end]
            yield Packet(StreamId(stream), payload)
