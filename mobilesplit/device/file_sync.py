"""Files over a device's ``sync:`` service, the same for every transport.

adb-shell and adbutils each have a client of their own; neither keeps one deadline for a whole file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mobilesplit.core.errors import DeviceError, DeviceGoneError, first_line
from mobilesplit.device.causes import find_cause, next_step_for
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.sync_protocol import (
    MAX_DATA_BYTES,
    Reply,
    ReplyKind,
    SyncDecoder,
    encode_data,
    encode_done,
    encode_receive,
    encode_send,
)
from mobilesplit.device.transports.transport import Channel, gone

_PIECES_AT_ONCE = 4
"""DATA packets to a send: a message costs a round trip on a direct connection."""


def push(
    channel: Channel,
    serial: str,
    source: Path,
    target: str,
    *,
    mode: int,
    progress: Callable[[int, int], None],
    deadline: Deadline,
) -> None:
    """Send a file. ``progress`` gets bytes sent and bytes in all.

    Raises:
        DeviceError: the device refused it (no space, no permission), or was too slow.
        DeviceGoneError: the connection was lost.
    """
    replies = _Replies(channel, serial)
    status = source.stat()
    pending = bytearray(encode_send(target, mode))
    sent = 0
    with source.open("rb") as file:
        # A device that refuses says so early: no need to send it all.
        while (piece := file.read(MAX_DATA_BYTES)) and not channel.has_received():
            pending += encode_data(piece)
            sent += len(piece)
            if len(pending) >= _PIECES_AT_ONCE * MAX_DATA_BYTES:
                if not channel.send(bytes(pending), deadline):
                    break
                pending.clear()
                progress(sent, status.st_size)
    if not channel.has_received():
        pending += encode_done(int(status.st_mtime))
        channel.send(bytes(pending), deadline)
    replies.next(deadline, ReplyKind.OKAY)
    progress(status.st_size, status.st_size)


def pull(channel: Channel, serial: str, source: str, *, deadline: Deadline) -> bytes:
    """A file's bytes.

    Raises:
        DeviceError: it is not there or may not be read, or the device was too slow.
        DeviceGoneError: the connection was lost.
    """
    replies = _Replies(channel, serial)
    channel.send(encode_receive(source), deadline)
    content = bytearray()
    while (reply := replies.next(deadline, ReplyKind.DATA, ReplyKind.DONE)).kind is ReplyKind.DATA:
        content += reply.data
    return bytes(content)


class _Replies:
    """The device's replies, one by one; its FAIL is an error."""

    def __init__(self, channel: Channel, serial: str) -> None:
        self._channel = channel
        self._serial = serial
        self._decoder = SyncDecoder()
        self._waiting: list[Reply] = []

    def next(self, deadline: Deadline, *expected: ReplyKind) -> Reply:
        while not self._waiting:
            data = self._channel.receive(deadline)
            if not data:
                raise gone(self._serial, "it ended in the middle of a file")
            self._waiting.extend(self._decoder.feed(data))
        reply = self._waiting.pop(0)
        if reply.kind is ReplyKind.FAIL:
            said = reply.data.decode(errors="replace")
            cause = find_cause(said, None)
            raise DeviceError(
                f"the device refused: {first_line(said)}.",
                serial=self._serial,
                cause=cause,
                next_step=next_step_for(cause, "Check the path on the device."),
            )
        if reply.kind not in expected:
            raise DeviceGoneError(
                f"the device answered {reply.kind}, not {' or '.join(expected)}.",
                serial=self._serial,
            )
        return reply
