"""A phone over TCP, through adb-shell: commands with exit codes, files, two-way streams.

The one place that touches adb-shell, private names included (docs/decisions/0003): it has no public
way to write to a stream, drops the exit code, sends partially and spins on a closed socket.
Every error leaves here as a DeviceError that names the serial.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from adb_shell import constants
from adb_shell.adb_device import AdbDevice as AdbShellDevice
from adb_shell.adb_message import AdbMessage
from adb_shell.exceptions import (
    AdbCommandFailureException,
    AdbConnectionError,
    AdbTimeoutError,
    DeviceAuthError,
    InvalidChecksumError,
    InvalidCommandError,
    InvalidResponseError,
    PushFailedError,
    TcpTimeoutException,
)
from adb_shell.transport.tcp_transport import TcpTransport

from mobilesplit.core.errors import DeviceError, DeviceGoneError
from mobilesplit.device.adb_keys import load_signer
from mobilesplit.device.shell_protocol import Packet, ShellDecoder, StreamId, encode_packet

DEFAULT_TIMEOUT_S = 15.0
_WRITE_CHUNK_BYTES = 256 * 1024

_TIMEOUTS = (TcpTimeoutException, AdbTimeoutError, TimeoutError)
_BROKEN = (
    OSError,
    AdbConnectionError,
    InvalidChecksumError,
    InvalidCommandError,
    InvalidResponseError,
)


class _WholeWrites(TcpTransport):  # type: ignore[misc]  # adb-shell is untyped
    """adb-shell's TCP transport, made to send all it is given and to notice a closed socket."""

    def connect(self, transport_timeout_s: float | None) -> None:
        super().connect(transport_timeout_s)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        view = memoryview(data)
        while view:
            _, writeable, _ = select.select([], [self._socket()], [], transport_timeout_s)
            if not writeable:
                raise TcpTimeoutException(f"no byte taken in {transport_timeout_s} s")
            view = view[self._socket().send(view) :]
        return len(data)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        readable, _, _ = select.select([self._socket()], [], [], transport_timeout_s)
        if not readable:
            raise TcpTimeoutException(f"no byte came in {transport_timeout_s} s")
        data: bytes = self._socket().recv(numbytes)
        if not data:
            raise ConnectionResetError("the device closed the connection")
        return data

    def _socket(self) -> socket.socket:
        if self._connection is None:
            raise ConnectionResetError("not connected")
        connection: socket.socket = self._connection
        return connection


@dataclass(frozen=True)
class ShellResult:
    """What a command left."""

    exit_code: int
    """0 to 255; death by signal n is 128 + n."""
    stdout: bytes
    """Its standard output, untouched."""
    stderr: str
    """Its standard error, decoded leniently."""

    @property
    def text(self) -> str:
        """stdout as text without the trailing newline."""
        return self.stdout.decode(errors="replace").rstrip("\r\n")


class AdbDevice:
    """A connected device. Not for several threads at once."""

    def __init__(self, serial: str, device: AdbShellDevice) -> None:
        self.serial = serial
        self._device = device

    @classmethod
    def connect(
        cls, serial: str, *, timeout_s: float = 10.0, key_folder: Path | None = None
    ) -> Self:
        """Connect to ``HOST:PORT`` (port 5555 when left out), with the key in ``key_folder``
        (None: ``~/.android``, where adb keeps it; made when missing).

        Raises:
            DeviceError: nobody answers there, it speaks no adb, or it does not accept the key.
        """
        host, _, port = serial.rpartition(":") if ":" in serial else (serial, "", "5555")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise DeviceError(
                f"{serial!r} is not HOST:PORT.",
                next_step="Give the address that `mobilesplit emulator list` shows.",
            )
        device = AdbShellDevice(_WholeWrites(host, int(port)))
        signer = load_signer(key_folder)
        try:
            device.connect(
                rsa_keys=[signer],
                transport_timeout_s=timeout_s,
                auth_timeout_s=timeout_s,
                read_timeout_s=timeout_s,
            )
        except (DeviceAuthError, *_TIMEOUTS) as error:
            device.close()
            if isinstance(error, OSError):
                raise cls._unreachable(serial, error) from None
            raise DeviceError(
                "connected, but the device did not accept this computer's adb key in time.",
                serial=serial,
                next_step="Unlock the phone and accept the key, then try again.",
            ) from None
        except _BROKEN as error:
            device.close()
            raise cls._unreachable(serial, error) from None
        return cls(serial, device)

    @staticmethod
    def _unreachable(serial: str, error: Exception) -> DeviceError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return DeviceError(
            f"no device answers ({reason}).",
            serial=serial,
            next_step="See `mobilesplit emulator list`, or `adb tcpip 5555` for a phone.",
        )

    def close(self) -> None:
        """Drop the connection; twice is fine."""
        self._device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def shell(self, command: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> ShellResult:
        """Run ``command`` in the device's shell and wait for it to end.

        Raises:
            DeviceError: it did not end within ``timeout_s``.
            DeviceGoneError: the connection was lost.
        """
        with self.open_shell(command, timeout_s=timeout_s) as stream:
            stdout = bytearray()
            deadline_s = time.monotonic() + timeout_s
            while (data := stream.read_some(max(0.05, deadline_s - time.monotonic()))) is not None:
                stdout += data
                if time.monotonic() > deadline_s:
                    raise DeviceError(
                        f"still running after {timeout_s:g} s.", serial=self.serial, command=command
                    )
            assert stream.exit_code is not None
            return ShellResult(stream.exit_code, bytes(stdout), stream.stderr_text)

    def check_shell(self, command: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> str:
        """Run ``command`` and give its output as text.

        Raises:
            DeviceError: it exited with another code than 0 (besides what `shell` raises).
        """
        result = self.shell(command, timeout_s=timeout_s)
        if result.exit_code != 0:
            raise DeviceError(
                "the command failed.",
                serial=self.serial,
                command=command,
                command_exit_code=result.exit_code,
                stderr=result.stderr,
            )
        return result.text

    def open_shell(self, command: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> ShellStream:
        """Start ``command`` and keep its stdin, stdout and stderr open, binary-clean."""
        with self._guard(command):
            info = self._device._open(
                b"shell,v2,raw:" + command.encode(), timeout_s, timeout_s, None
            )
        return ShellStream(self, info, command)

    def push(
        self,
        source: Path,
        target: str,
        *,
        mode: int = 0o644,
        progress: Callable[[int, int], None] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Copy a file to the device. ``progress`` gets bytes sent and bytes in all."""

        def report(_path: str, sent: int, total: int) -> None:
            if progress is not None:
                progress(sent, total)

        with self._guard(f"push {source.name} {target}"):
            # st_mode carries the file type, as adb sends it.
            self._device.push(
                str(source),
                target,
                st_mode=0o100000 | mode,
                mtime=int(source.stat().st_mtime),
                progress_callback=report,
                transport_timeout_s=timeout_s,
                read_timeout_s=timeout_s,
            )

    def pull(self, source: str, *, timeout_s: float = 60.0) -> bytes:
        """A file's bytes. Raises DeviceError when it is not there."""
        target = io.BytesIO()
        with self._guard(f"pull {source}"):
            self._device.pull(
                source, target, transport_timeout_s=timeout_s, read_timeout_s=timeout_s
            )
        return target.getvalue()

    @contextlib.contextmanager
    def _guard(self, command: str) -> Iterator[None]:
        """Turn whatever adb-shell raises into a DeviceError with serial and command."""
        try:
            yield
        except _TIMEOUTS as error:
            raise DeviceError(
                f"no answer in time ({error}).", serial=self.serial, command=command
            ) from None
        except (AdbCommandFailureException, PushFailedError) as error:
            raise DeviceError(
                f"the device refused: {error}.", serial=self.serial, command=command
            ) from None
        except _BROKEN as error:
            raise DeviceGoneError(
                f"the connection to the device was lost ({error}).",
                serial=self.serial,
                command=command,
                next_step="Check the cable or `mobilesplit emulator list`, then run it again.",
            ) from None


class ShellStream:
    """A running command on the device with its three streams. Close it, or use ``with``."""

    def __init__(self, device: AdbDevice, info: Any, command: str) -> None:
        self._owner = device
        self._adb = device._device
        self._info = info
        self._command = command
        self._decoder = ShellDecoder()
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._open = True
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stderr_text(self) -> str:
        """What the command wrote to stderr so far."""
        return self._stderr.decode(errors="replace")

    def write(self, data: bytes, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Send bytes to the command's stdin."""
        view = memoryview(data)
        while view:
            self._send(encode_packet(StreamId.STDIN, view[:_WRITE_CHUNK_BYTES]), timeout_s)
            view = view[_WRITE_CHUNK_BYTES:]

    def read_some(self, timeout_s: float) -> bytes | None:
        """The next bytes of stdout (at least one), or None once the command has ended."""
        while not self._stdout:
            if not self._pump(timeout_s):
                return None
        data = bytes(self._stdout)
        self._stdout.clear()
        return data

    def read_exactly(self, nbytes: int, *, timeout_s: float) -> bytes:
        """``nbytes`` of stdout. Raises DeviceGoneError when the command ends before."""
        while len(self._stdout) < nbytes:
            if not self._pump(timeout_s):
                raise self._ended()
        data = bytes(memoryview(self._stdout)[:nbytes])
        del self._stdout[:nbytes]
        return data

    def read_line(self, *, timeout_s: float, max_bytes: int = 1 << 20) -> bytes | None:
        """The next line of stdout without its newline, or None once the command has ended."""
        searched = 0
        while (end := self._stdout.find(b"\n", searched)) < 0:
            searched = len(self._stdout)
            if searched > max_bytes:
                raise DeviceError(
                    f"a line of over {max_bytes} bytes.",
                    serial=self._owner.serial,
                    command=self._command,
                )
            if not self._pump(timeout_s):
                return None
        line = bytes(memoryview(self._stdout)[:end])
        del self._stdout[: end + 1]
        return line

    def close(self) -> None:
        """End the stream; the device then ends the command. Twice is fine."""
        if self._open:
            self._open = False
            # The device may be gone already: closing must not hide why.
            with contextlib.suppress(Exception):
                self._device_send(constants.CLSE, b"", 1.0)

    def _ended(self) -> DeviceGoneError:
        return DeviceGoneError(
            "the command ended too early.",
            serial=self._owner.serial,
            command=self._command,
            command_exit_code=self.exit_code,
            stderr=self.stderr_text,
        )

    def _device_send(self, command: bytes, data: bytes, timeout_s: float) -> None:
        self._info.transport_timeout_s = timeout_s
        self._info.read_timeout_s = timeout_s
        message = AdbMessage(command, self._info.local_id, self._info.remote_id, data)
        self._adb._io_manager.send(message, self._info)

    def _send(self, data: bytes, timeout_s: float) -> None:
        if not self._open:
            raise self._ended()
        with self._owner._guard(self._command):
            self._device_send(constants.WRTE, data, timeout_s)
            # The OKAY may come after output that the command wrote meanwhile: keep both.
            while self._receive(timeout_s) is not constants.OKAY:
                if not self._open:
                    raise self._ended()

    def _pump(self, timeout_s: float) -> bool:
        """Take one message from the device; False once the command has ended."""
        if not self._open:
            return False
        with self._owner._guard(self._command):
            self._receive(timeout_s)
        return self._open or bool(self._stdout)

    def _receive(self, timeout_s: float) -> bytes:
        self._info.transport_timeout_s = timeout_s
        self._info.read_timeout_s = timeout_s
        command, _, _, data = self._adb._io_manager.read(
            [constants.OKAY, constants.WRTE, constants.CLSE], self._info, allow_zeros=True
        )
        if command == constants.WRTE:
            self._device_send(constants.OKAY, b"", timeout_s)
            for packet in self._decoder.feed(data):
                self._take(packet)
            return bytes(constants.WRTE)
        if command == constants.CLSE:
            self._device_send(constants.CLSE, b"", timeout_s)
            self._open = False
            if self.exit_code is None:
                raise DeviceGoneError(
                    "the device closed the stream without an exit code.",
                    serial=self._owner.serial,
                    command=self._command,
                    stderr=self.stderr_text,
                )
        okay: bytes = constants.OKAY
        return okay if command == constants.OKAY else bytes(constants.CLSE)

    def _take(self, packet: Packet) -> None:
        if packet.stream is StreamId.STDOUT:
            self._stdout += packet.data
        elif packet.stream is StreamId.STDERR:
            self._stderr += packet.data
            del self._stderr[:-65536]
        elif packet.stream is StreamId.EXIT:
            self.exit_code = packet.data[0] if packet.data else 255
