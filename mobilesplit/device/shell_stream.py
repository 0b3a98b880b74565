"""A running command on a device with its three streams, binary-clean, over any transport."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Self

from mobilesplit.core.errors import DeviceError, DeviceGoneError
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.shell_protocol import Packet, ShellDecoder, StreamId, encode_packet
from mobilesplit.device.transports.transport import Channel

DEFAULT_TIMEOUT_S = 15.0
_WRITE_CHUNK_BYTES = 256 * 1024
_KEPT_STDERR_BYTES = 65536
_LAST_WORDS_S = 1.0
"""How long the exit code of a command that takes no more input is waited for."""


class ShellStream:
    """Close it, or use ``with``."""

    def __init__(self, serial: str, channel: Channel, command: str) -> None:
        self._serial = serial
        self._channel = channel
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
        """What the command wrote to stderr so far, the last 64 KiB of it."""
        return self._stderr.decode(errors="replace")

    def write(self, data: bytes, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Send bytes to the command's stdin.

        Raises:
            DeviceGoneError: the command has ended, or the connection was lost.
        """
        deadline = Deadline(timeout_s)
        view = memoryview(data)
        while view:
            self._send(encode_packet(StreamId.STDIN, view[:_WRITE_CHUNK_BYTES]), deadline)
            view = view[_WRITE_CHUNK_BYTES:]

    def close_stdin(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Tell the command that no more input comes."""
        self._send(encode_packet(StreamId.CLOSE_STDIN, b""), Deadline(timeout_s))

    def read_some(self, timeout_s: float) -> bytes | None:
        """The next bytes of stdout (at least one), or None once the command has ended."""
        return self.read_before(Deadline(timeout_s))

    def read_before(self, deadline: Deadline) -> bytes | None:
        """As `read_some`, for whoever has a deadline for more than this."""
        while not self._stdout:
            if not self._pump(deadline):
                return None
        data = bytes(self._stdout)
        self._stdout.clear()
        return data

    def read_exactly(self, nbytes: int, *, timeout_s: float) -> bytes:
        """``nbytes`` of stdout. Raises DeviceGoneError when the command ends before."""
        deadline = Deadline(timeout_s)
        while len(self._stdout) < nbytes:
            if not self._pump(deadline):
                raise self._ended()
        data = bytes(memoryview(self._stdout)[:nbytes])
        del self._stdout[:nbytes]
        return data

    def read_line(self, *, timeout_s: float, max_bytes: int = 1 << 20) -> bytes | None:
        """The next line of stdout without its newline, or None once the command has ended."""
        deadline = Deadline(timeout_s)
        searched = 0
        while (end := self._stdout.find(b"\n", searched)) < 0:
            searched = len(self._stdout)
            if searched > max_bytes:
                raise DeviceError(
                    f"a line of over {max_bytes} bytes.",
                    serial=self._serial,
                    command=self._command,
                )
            if not self._pump(deadline):
                return None
        line = bytes(memoryview(self._stdout)[:end])
        del self._stdout[: end + 1]
        return line

    def close(self) -> None:
        """End the stream; the device then ends the command. Twice is fine."""
        self._open = False
        self._channel.close()

    def _send(self, packet: bytes, deadline: Deadline) -> None:
        with naming(self._serial, self._command):
            taken = self._open and self._channel.send(packet, deadline)
        if not taken:
            # The exit code may lie behind output that nobody has read yet.
            last_words = Deadline(_LAST_WORDS_S)
            while self._open:
                self._pump(last_words)
            raise self._ended()

    def _pump(self, deadline: Deadline) -> bool:
        """Take what the device sent; False once the command has ended and all was taken."""
        if not self._open:
            return False
        with naming(self._serial, self._command):
            data = self._channel.receive(deadline)
            for packet in self._decoder.feed(data):
                self._take(packet)
        if not data:
            self.close()
            if self.exit_code is not None:
                return bool(self._stdout)
            raise DeviceGoneError(
                "the device closed the stream without an exit code.",
                serial=self._serial,
                command=self._command,
                stderr=self.stderr_text,
                next_step="Check the cable or `mobilesplit devices`, then run it again.",
            )
        return True

    def _take(self, packet: Packet) -> None:
        if packet.stream is StreamId.STDOUT:
            self._stdout += packet.data
        elif packet.stream is StreamId.STDERR:
            self._stderr += packet.data
            del self._stderr[:-_KEPT_STDERR_BYTES]
        elif packet.stream is StreamId.EXIT:
            self.exit_code = packet.data[0] if packet.data else 255

    def _ended(self) -> DeviceGoneError:
        return DeviceGoneError(
            "the command ended too early.",
            serial=self._serial,
            command=self._command,
            command_exit_code=self.exit_code,
            stderr=self.stderr_text,
        )


@contextlib.contextmanager
def naming(serial: str, command: str) -> Iterator[None]:
    """Gives errors from below the device and the command that they belong to."""
    try:
        yield
    except DeviceError as error:
        error.serial = error.serial or serial
        error.command = error.command or command
        raise
