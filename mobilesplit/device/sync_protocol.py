"""Requests and replies inside adb's ``sync:`` service, as far as files need them. Sans-I/O.

Source: AOSP packages/modules/adb/SYNC.TXT and file_sync_protocol.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from mobilesplit.core.errors import DeviceError

MAX_DATA_BYTES = 64 * 1024
"""Of one DATA packet, in both directions; no sentence is longer either."""
MAX_PATH_BYTES = 1024
_HEADER = struct.Struct("<4sI")
_REGULAR_FILE = 0o100000


class ReplyKind(StrEnum):
    """First four bytes of a reply."""

    DATA = "DATA"
    DONE = "DONE"
    OKAY = "OKAY"
    FAIL = "FAIL"


class Reply(NamedTuple):
    """What the device answered."""

    kind: ReplyKind
    data: bytes
    """A piece of the file after DATA, a sentence after FAIL."""


def encode_send(path: str, mode: int) -> bytes:
    """The request that begins a push; ``mode`` is the permissions."""
    return _request(b"SEND", f"{_checked(path)},{_REGULAR_FILE | mode}".encode())


def encode_data(piece: bytes) -> bytes:
    """A piece of a pushed file, at most `MAX_DATA_BYTES`."""
    return _HEADER.pack(b"DATA", len(piece)) + piece


def encode_done(mtime_s: int) -> bytes:
    """The end of a pushed file."""
    return _HEADER.pack(b"DONE", mtime_s & 0xFFFFFFFF)


def encode_receive(path: str) -> bytes:
    """The request of a pull."""
    return _request(b"RECV", _checked(path).encode())


def _request(kind: bytes, text: bytes) -> bytes:
    return _HEADER.pack(kind, len(text)) + text


def _checked(path: str) -> str:
    if len(path.encode()) > MAX_PATH_BYTES:
        raise DeviceError(f"a path of over {MAX_PATH_BYTES} bytes: {path[:60]!r}...", next_step="")
    return path


class SyncDecoder:
    """Finds replies in a stream that arrives in arbitrary pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Add bytes; yields each reply that they complete.

        Raises:
            DeviceError: for an unknown reply, or a length over the limit.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            word, number = _HEADER.unpack_from(self._buffer)
            kind = next((kind for kind in ReplyKind if kind.encode() == word), None)
            carries = kind in (ReplyKind.DATA, ReplyKind.FAIL)
            if kind is None or (carries and number > MAX_DATA_BYTES):
                raise DeviceError(f"broken sync reply: {word!r}, {number} bytes.")
            end = _HEADER.size + (number if carries else 0)
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[_HEADER.size : end])
            del self._buffer[:end]
            yield Reply(kind, payload)
