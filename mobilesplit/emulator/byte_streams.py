"""Where bytes come from and go to: the shapes that shells, services and programs share.

Rule: nothing here buffers without a bound; a writer waits until the reader has taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

PIPE_NBYTES = 256 * 1024


class ByteSource(Protocol):
    """Something to read from."""

    async def read(self) -> bytes:
        """The next piece, of any length; empty at the end."""
        ...


class ByteSink(Protocol):
    """Something to write to."""

    async def write(self, data: bytes) -> None:
        """Take all of ``data``, waiting while the far end is slow.

        Raises:
            BrokenPipeError: nobody will ever read it.
        """
        ...


class Pipe:
    """A bounded pipe inside the process, for ``a | b`` and for a shell's standard input."""

    def __init__(self, limit_nbytes: int = PIPE_NBYTES) -> None:
        self._limit_nbytes = limit_nbytes
        self._pieces: deque[bytes] = deque()
        self._nbytes = 0
        self._ended = False
        self._abandoned = False
        self._changed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Raises BrokenPipeError once the reader is gone."""
        while self._nbytes >= self._limit_nbytes and not self._abandoned:
            self._changed.clear()
            await self._changed.wait()
        if self._abandoned:
            raise BrokenPipeError
        if data:
            self._pieces.append(data)
            self._nbytes += len(data)
            self._changed.set()

    async def read(self) -> bytes:
        while not self._pieces and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self._nbytes -= len(piece)
        self._changed.set()
        return piece

    def end(self) -> None:
        """The writer is done: the reader gets what is left, then the end."""
        self._ended = True
        self._changed.set()

    def abandon(self) -> None:
        """The reader is done: writers get BrokenPipeError."""
        self._abandoned = True
        self._pieces.clear()
        self._changed.set()


class Empty:
    """``/dev/null`` on both ends."""

    async def read(self) -> bytes:
        return b""

    async def write(self, data: bytes) -> None:
        return None


class ExactReader:
    """Reads exact lengths and lines from a source that gives pieces of any length."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._piece = memoryview(b"")

    async def read(self) -> bytes:
        """What is left of the current piece, or the next one."""
        if self._piece:
            rest = bytes(self._piece)
            self._piece = memoryview(b"")
            return rest
        return await self._source.read()

    async def some(self, most_nbytes: int) -> memoryview:
        """One to ``most_nbytes`` bytes, without a copy; empty at the end."""
        if not self._piece:
            self._piece = memoryview(await self._source.read())
        taken, self._piece = self._piece[:most_nbytes], self._piece[most_nbytes:]
        return taken

    async def exactly(self, nbytes: int) -> bytes:
        """Exactly ``nbytes``.

        Raises:
            EOFError: the source ended before.
        """
        gathered = bytearray()
        while len(gathered) < nbytes:
            piece = await self.some(nbytes - len(gathered))
            if not piece:
                raise EOFError
            gathered += piece
        return bytes(gathered)

    async def line(self, limit_nbytes: int) -> bytes:
        """Up to and with the next newline, or the rest; at most ``limit_nbytes``."""
        gathered = bytearray()
        while len(gathered) < limit_nbytes:
            piece = await self.some(limit_nbytes - len(gathered))
            if not piece:
                break
            end = bytes(piece).find(b"\n")
            if end >= 0:
                gathered += piece[: end + 1]
                rest = bytes(piece[end + 1 :]) + bytes(self._piece)
                self._piece = memoryview(rest)
                break
            gathered += piece
        return bytes(gathered)
