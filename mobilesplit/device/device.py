"""A connected device: commands with exit codes, files, two-way streams, over any transport.

Rule: every operation has one deadline; every error leaves here as a DeviceError that names the
serial and the command.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mobilesplit.core.errors import DeviceError, DeviceTimeoutError
from mobilesplit.device import file_sync
from mobilesplit.device.causes import find_cause, next_step_for
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.shell_stream import DEFAULT_TIMEOUT_S, ShellStream, naming
from mobilesplit.device.transports.transport import Transport, TransportKind

_LEAST_FILE_S = 60.0
_SLOWEST_BYTES_PER_S = 1e6
"""A push or pull that is slower than this for its whole length is given up."""


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


class Device:
    """Not for several threads at once, besides `close`; different devices may be."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def serial(self) -> str:
        """As the user knows it."""
        return self._transport.serial

    @property
    def transport(self) -> TransportKind:
        """The way to it."""
        return self._transport.kind

    def close(self) -> None:
        """Drop the connection; twice is fine. From another thread, it ends what waits there."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def shell(self, command: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> ShellResult:
        """Run ``command`` in the device's shell and wait for it to end.

        Raises:
            DeviceTimeoutError: it did not end within ``timeout_s``.
            DeviceGoneError: the connection was lost.
        """
        deadline = Deadline(timeout_s)
        with self._open(command, deadline) as stream:
            stdout = bytearray()
            try:
                while (data := stream.read_before(deadline)) is not None:
                    stdout += data
            except DeviceTimeoutError:
                raise DeviceTimeoutError(
                    f"still running after {timeout_s:g} s.", serial=self.serial, command=command
                ) from None
            assert stream.exit_code is not None
            return ShellResult(stream.exit_code, bytes(stdout), stream.stderr_text)

    def check_shell(self, command: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> str:
        """Run ``command`` and give its output as text.

        Raises:
            DeviceError: it exited with another code than 0 (besides what `shell` raises).
        """
        result = self.shell(command, timeout_s=timeout_s)
        if result.exit_code != 0:
            cause = find_cause(result.stderr, result.exit_code)
            raise DeviceError(
                "the command failed.",
                serial=self.serial,
                command=command,
                command_exit_code=result.exit_code,
                stderr=result.stderr,
                cause=cause,
                next_step=next_step_for(cause, "See `mobilesplit devices`."),
            )
        return result.text

    def open_shell(self, command: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> ShellStream:
        """Start ``command`` and keep its stdin, stdout and stderr open, binary-clean."""
        return self._open(command, Deadline(timeout_s))

    def push(
        self,
        source: Path,
        target: str,
        *,
        mode: int = 0o644,
        progress: Callable[[int, int], None] = lambda _sent, _total: None,
        timeout_s: float | None = None,
    ) -> None:
        """Copy a file to the device. ``progress`` gets bytes sent and bytes in all.

        ``timeout_s`` None: as long as 1 MB/s takes, and a minute at least.

        Raises:
            DeviceError: the device refused it (no space, no permission), or was too slow.
            DeviceGoneError: the connection was lost.
        """
        if timeout_s is None:
            timeout_s = _file_s(source.stat().st_size)
        deadline = Deadline(timeout_s)
        with naming(self.serial, f"push {source.name} {target}"):
            channel = self._transport.open_service("sync:", deadline)
            try:
                file_sync.push(
                    channel,
                    self.serial,
                    source,
                    target,
                    mode=mode,
                    progress=progress,
                    deadline=deadline,
                )
            finally:
                channel.close()

    def pull(self, source: str, *, timeout_s: float | None = None) -> bytes:
        """A file's bytes. ``timeout_s`` as `push` has it.

        Raises:
            DeviceError: it is not there or may not be read, or the device was too slow.
            DeviceGoneError: the connection was lost.
        """
        if timeout_s is None:
            size = self.shell(f"stat -c %s {shlex.quote(source)}").text
            # A file that is not there has none: the pull tells why.
            timeout_s = _file_s(int(size) if size.isdecimal() else 0)
        deadline = Deadline(timeout_s)
        with naming(self.serial, f"pull {source}"):
            channel = self._transport.open_service("sync:", deadline)
            try:
                return file_sync.pull(channel, self.serial, source, deadline=deadline)
            finally:
                channel.close()

    def _open(self, command: str, deadline: Deadline) -> ShellStream:
        with naming(self.serial, command):
            channel = self._transport.open_service(f"shell,v2,raw:{command}", deadline)
        return ShellStream(self.serial, channel, command)


def _file_s(nbytes: int) -> float:
    """How long a file of this size may take."""
    return max(_LEAST_FILE_S, nbytes / _SLOWEST_BYTES_PER_S)
