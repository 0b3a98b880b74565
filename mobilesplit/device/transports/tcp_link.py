"""The socket below adb-shell: whole messages, a noticed end, and the deadline of the operation
under way instead of a time for each message.

Rule: a deadline that passes in the middle of a message breaks nothing. What came of a message is
kept until the rest comes, and what was not sent yet goes before the next one, unless it is
withdrawn as a whole.
"""

from __future__ import annotations

import socket
import struct

from adb_shell.transport.tcp_transport import TcpTransport

from mobilesplit.device.deadline import Deadline
from mobilesplit.device.transports.waiting import wait_until_ready

_HEADER = struct.Struct("<6I")
"""Command, two arguments, length, checksum, magic (AOSP adb, protocol.txt)."""
_MOST_PAYLOAD_BYTES = 4 << 20
"""Four times what any adb sends."""
_READ_BYTES = 256 * 1024


class TcpLink(TcpTransport):  # type: ignore[misc]  # adb-shell is untyped
    """A connection to a device's adb daemon. Times out with TimeoutError, breaks with OSError."""

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        super().__init__(host, port)
        self.deadline = deadline
        self._came = bytearray()
        self._whole_bytes = 0
        self._unsent = bytearray()
        self._last_begins = -1
        """Where the last message begins in what is unsent; below 0 once any of it was sent."""
        self._payload_follows = False

    def connect(self, transport_timeout_s: float | None) -> None:
        super().connect(self.deadline.left_s())
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        connection = self._socket()
        if not self._payload_follows:
            self._last_begins = len(self._unsent)
        self._unsent += data
        # adb-shell writes a message as header and payload: they begin their way together.
        self._payload_follows = not self._payload_follows and _payload_bytes(data) > 0
        while self._unsent and not self._payload_follows:
            if not wait_until_ready(connection, self.deadline.left_s(), to_write=True).to_write:
                raise TimeoutError
            sent = connection.send(self._unsent)
            del self._unsent[:sent]
            self._last_begins -= sent
        return len(data)

    def withdraw(self) -> bool:
        """Drop the last message, unless some of it was sent; whether it was dropped."""
        if self._last_begins < 0:
            return False
        del self._unsent[self._last_begins :]
        self._last_begins = -1
        self._payload_follows = False
        return True

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        while not self._whole_bytes:
            self._receive()
        taken = min(numbytes, self._whole_bytes)
        data = bytes(memoryview(self._came)[:taken])
        del self._came[:taken]
        self._whole_bytes -= taken
        if not self._whole_bytes:
            self._find_message()
        return data

    def _receive(self) -> None:
        connection = self._socket()
        if not wait_until_ready(connection, self.deadline.left_s(), to_read=True).to_read:
            raise TimeoutError
        data = connection.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the device closed the connection")
        self._came += data
        self._find_message()

    def _find_message(self) -> None:
        """Count the bytes of the first message, once all of them are there."""
        if len(self._came) < _HEADER.size:
            return
        payload_bytes = _payload_bytes(self._came)
        if payload_bytes > _MOST_PAYLOAD_BYTES:
            raise ConnectionResetError(f"a message of {payload_bytes} bytes: this is no adb")
        if len(self._came) >= _HEADER.size + payload_bytes:
            self._whole_bytes = _HEADER.size + payload_bytes

    def _socket(self) -> socket.socket:
        if self._connection is None:
            raise ConnectionResetError("not connected")
        connection: socket.socket = self._connection
        return connection


def _payload_bytes(header: bytes | bytearray) -> int:
    """How long the payload is that follows a header."""
    return int(_HEADER.unpack_from(header)[3])
