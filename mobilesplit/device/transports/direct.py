"""A device that this process speaks adb with itself, through adb-shell: over TCP or USB.

The one place that touches adb-shell's private names (docs/decisions/0003): it has no public way to
write to a stream.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

from adb_shell import constants
from adb_shell.adb_device import AdbDevice as AdbShellDevice
from adb_shell.adb_message import AdbMessage
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.exceptions import (
    AdbTimeoutError,
    DeviceAuthError,
    InvalidChecksumError,
    InvalidCommandError,
    InvalidResponseError,
)
from adb_shell.hidden_helpers import _AdbTransactionInfo

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.causes import NEXT_STEPS
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.transports.transport import gone, too_late

_TIMEOUTS = (TimeoutError, AdbTimeoutError)
_BROKEN = (
    OSError,
    ValueError,  # a socket that another thread closed while this one waited on it
    InvalidChecksumError,
    InvalidCommandError,
    InvalidResponseError,
)
_MOST_PAYLOAD_BYTES = 256 * 1024
"""Of a message we send: the device may be asked for less, never for more."""


class DirectTransport:
    """A `Transport` over a link of tcp_link.py or usb_link.py."""

    def __init__(
        self, serial: str, kind: Literal["tcp", "usb"], link: Any, device: AdbShellDevice
    ) -> None:
        self.serial = serial
        self.kind = kind
        self._link = link
        self._io = device._io_manager
        self._payload_bytes = min(device._maxdata, _MOST_PAYLOAD_BYTES)
        self._last_id = 0
        self._given_up: set[int] = set()
        """Streams whose OPEN went out, but was not answered in time."""

    @classmethod
    def connect(
        cls,
        serial: str,
        kind: Literal["tcp", "usb"],
        link: Any,
        signers: list[PythonRSASigner],
        deadline: Deadline,
    ) -> DirectTransport:
        """Connect over ``link`` and authorise with the first key that the device knows.

        Raises:
            DeviceError: nobody answers there, it speaks no adb, or it accepts none of the keys.
        """
        device = AdbShellDevice(link)
        asked: list[object] = []
        link.deadline = deadline
        try:
            device.connect(
                rsa_keys=signers,
                transport_timeout_s=deadline.timeout_s,
                auth_timeout_s=deadline.timeout_s,
                read_timeout_s=deadline.timeout_s,
                auth_callback=asked.append,  # called once it knows none of the keys
            )
        except (DeviceAuthError, *_TIMEOUTS, *_BROKEN) as error:
            device.close()
            if asked:
                raise DeviceError(
                    "the device did not accept this computer's adb key in time (unauthorized).",
                    serial=serial,
                    cause="unauthorized",
                    next_step=NEXT_STEPS["unauthorized"],
                ) from None
            reason = getattr(error, "strerror", None) or str(error) or "it says nothing"
            raise DeviceError(
                f"no device answers ({reason}).",
                serial=serial,
                cause="offline",
                next_step="See `mobilesplit devices`, or `adb tcpip 5555` for a phone.",
            ) from None
        except BaseException:
            device.close()
            raise
        return cls(serial, kind, link, device)

    def open_service(self, service: str, deadline: Deadline) -> DirectChannel:
        self._last_id += 1
        info = _AdbTransactionInfo(self._last_id, None)
        try:
            with self._speaking(info, deadline):
                opening = AdbMessage(constants.OPEN, info.local_id, 0, service.encode() + b"\0")
                self._io.send(opening, info)
                command, info.remote_id, _ = self._read([constants.OKAY, constants.CLSE], info)
        except BaseException:
            # What is told as failed must not run later.
            if not self._link.withdraw():
                self._given_up.add(info.local_id)
            raise
        if command == constants.CLSE:
            raise DeviceError("the device does not offer this service.", serial=self.serial)
        return DirectChannel(self, info)

    def close(self) -> None:
        # Not adb-shell's close: that waits until nobody reads.
        self._link.close()

    @contextlib.contextmanager
    def _speaking(self, info: _AdbTransactionInfo, deadline: Deadline) -> Iterator[None]:
        """One operation: its deadline set, adb-shell's exceptions turned into ours."""
        self._link.deadline = deadline
        info.read_timeout_s = info.transport_timeout_s = deadline.timeout_s
        try:
            yield
        except _TIMEOUTS:
            raise too_late(self.serial, deadline) from None
        except _BROKEN as error:
            raise gone(self.serial, str(error)) from None

    def _read(
        self, expected: list[bytes], info: _AdbTransactionInfo
    ) -> tuple[bytes, int | None, bytes]:
        """The next message of a stream that is one of ``expected``: command, its id, payload."""
        # Before the wait: were it too late after it, what was read would be lost.
        self._end_given_up()
        command, remote_id, _, data = self._io.read(expected, info, allow_zeros=True)
        return command, remote_id, data

    def _end_given_up(self) -> None:
        """Close streams that the device opened after their time; adb-shell has kept its OKAY."""
        for local_id in tuple(self._given_up):
            kept = self._io._packet_store.find(None, local_id)
            if kept is not None:
                self._message(constants.CLSE, _AdbTransactionInfo(local_id, kept[0]))
                self._io._packet_store.clear(*kept)
                self._given_up.discard(local_id)

    def _message(self, command: bytes, info: _AdbTransactionInfo, data: bytes = b"") -> None:
        self._io.send(AdbMessage(command, info.local_id, info.remote_id, data), info)


class DirectChannel:
    """A `Channel` of a `DirectTransport`."""

    def __init__(self, transport: DirectTransport, info: _AdbTransactionInfo) -> None:
        self._transport = transport
        self._info = info
        self._received = bytearray()
        self._open = True

    def send(self, data: bytes, deadline: Deadline) -> bool:
        view = memoryview(data)
        while view and self._open:
            piece = bytes(view[: self._transport._payload_bytes])
            view = view[len(piece) :]
            with self._transport._speaking(self._info, deadline):
                self._transport._message(constants.WRTE, self._info, piece)
                # The OKAY may come after output that the service wrote meanwhile.
                while self._open and self._take_message() != constants.OKAY:
                    pass
        return self._open

    def receive(self, deadline: Deadline) -> bytes:
        while self._open and not self._received:
            with self._transport._speaking(self._info, deadline):
                self._take_message()
        data = bytes(self._received)
        self._received.clear()
        return data

    def has_received(self) -> bool:
        return bool(self._received)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        # The device may be gone already: closing must not hide why.
        with (
            contextlib.suppress(DeviceError),
            self._transport._speaking(self._info, Deadline(1.0)),
        ):
            self._transport._message(constants.CLSE, self._info)

    def _take_message(self) -> bytes:
        """The next message of this stream, answered as the protocol asks; its command."""
        command, _, data = self._transport._read(
            [constants.OKAY, constants.WRTE, constants.CLSE], self._info
        )
        if command == constants.WRTE:
            self._transport._message(constants.OKAY, self._info)
            self._received += data
        elif command == constants.CLSE:
            self._open = False
            self._transport._message(constants.CLSE, self._info)
        return command
