"""Changing a running phone's faults: a Unix socket in its state folder, and how to ask there.

Rule: one line of JSON to the phone, one back; when the answer is there, the change holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mobilesplit.core.errors import MobilesplitError
from mobilesplit.emulator.faults import Faults

_SOCKET = "control"
_LIMIT_S = 5.0
_LINE_NBYTES = 64 * 1024


class ControlServer:
    """The phone's end. ``change`` takes changes and returns all faults after."""

    def __init__(self, change: Callable[[Mapping[str, object]], Faults]) -> None:
        self._change = change

    async def listen(self, state: Path) -> asyncio.Server:
        """Until the server is closed."""
        with _short_path(state) as path:
            return await asyncio.start_unix_server(self._answer, path, limit=_LINE_NBYTES)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                changes = json.loads(await reader.readline())["change"]
                writer.write(self._change(changes).model_dump_json().encode() + b"\n")
                await writer.drain()
        finally:
            # Whoever asked wrongly gets no answer, and must not wait for one.
            writer.close()


def ask(state: Path, changes: Mapping[str, object]) -> Faults:
    """Have the phone of a state folder change its faults; all of them after.

    Raises:
        MobilesplitError: nobody answers there.
    """
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking,
            _short_path(state) as path,
        ):
            asking.settimeout(_LIMIT_S)
            asking.connect(path)
            asking.sendall(json.dumps({"change": changes}).encode() + b"\n")
            answer = b"".join(iter(lambda: asking.recv(_LINE_NBYTES), b""))
    except OSError as error:
        raise MobilesplitError(
            f"The virtual phone in {state} does not answer: {error}.",
            next_step="See `mobilesplit emulator list`.",
        ) from None
    return Faults.load(answer, source="the phone's answer")


@contextlib.contextmanager
def _short_path(state: Path) -> Iterator[str]:
    """The socket by way of its open folder: a socket's path has room for 107 bytes only."""
    folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{_SOCKET}"
    finally:
        os.close(folder)
