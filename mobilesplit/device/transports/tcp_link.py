"""The socket below adb-shell: it sends all it is given, notices a closed other side, and keeps
the deadline of the operation under way instead of a time for each message."""

from __future__ import annotations

import select
import socket

from adb_shell.transport.tcp_transport import TcpTransport

from mobilesplit.device.deadline import Deadline


class TcpLink(TcpTransport):  # type: ignore[misc]  # adb-shell is untyped
    """A connection to a device's adb daemon. Times out with TimeoutError, breaks with OSError."""

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        super().__init__(host, port)
        self.deadline = deadline

    def connect(self, transport_timeout_s: float | None) -> None:
        super().connect(self.deadline.left_s())
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        connection = self._socket()
        view = memoryview(data)
        while view:
            _, writeable, _ = select.select([], [connection], [], self.deadline.left_s())
            if not writeable:
                raise TimeoutError
            view = view[connection.send(view) :]
        return len(data)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        connection = self._socket()
        readable, _, _ = select.select([connection], [], [], self.deadline.left_s())
        if not readable:
            raise TimeoutError
        data = connection.recv(numbytes)
        if not data:
            raise ConnectionResetError("the device closed the connection")
        return data

    def _socket(self) -> socket.socket:
        if self._connection is None:
            raise ConnectionResetError("not connected")
        connection: socket.socket = self._connection
        return connection
