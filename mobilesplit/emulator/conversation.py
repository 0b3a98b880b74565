"""Bytes between an adb stream and a running program, both ways at once.

Rule: a slow side slows the other (pipes and drains, never a growing buffer), and however a
conversation ends, its program is dead afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import IO

from mobilesplit.emulator.byte_streams import ByteSink, ByteSource
from mobilesplit.emulator.programs import Programs, RunningProgram

_READ_NBYTES = 256 * 1024


class _OutputPipe:
    """The phone's end of a program's stdout or stderr."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.BaseTransport) -> None:
        self._reader = reader
        self._transport = transport

    @classmethod
    async def attach(cls, pipe: IO[bytes]) -> _OutputPipe:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ_NBYTES)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        return cls(reader, transport)

    async def drain_into(self, sink: ByteSink) -> None:
        """Until the program closes it; a sink that is gone gives the program SIGPIPE."""
        try:
            while data := await self._reader.read(_READ_NBYTES):
                await sink.write(data)
        except BrokenPipeError:
            self.close()

    def close(self) -> None:
        self._transport.close()


class _InputPipe:
    """The phone's end of a program's stdin."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    @classmethod
    async def attach(cls, pipe: IO[bytes]) -> _InputPipe:
        loop = asyncio.get_running_loop()
        # A StreamReaderProtocol because it is asyncio's public class with flow control.
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe)
        return cls(asyncio.StreamWriter(transport, protocol, None, loop))

    async def fill_from(self, source: ByteSource) -> None:
        """Until the source ends or the program closes its stdin."""
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            while data := await source.read():
                self._writer.write(data)
                await self._writer.drain()
        self.close()

    def close(self) -> None:
        self._writer.close()


async def converse(
    programs: Programs,
    program: RunningProgram,
    *,
    stdin: ByteSource,
    stdout: ByteSink,
    stderr: ByteSink,
) -> int:
    """Carry bytes until the program ends; its exit code, 0x80|signal if it was killed."""
    popen = program.popen
    assert popen.stdin is not None and popen.stdout is not None and popen.stderr is not None
    pipes: list[_InputPipe | _OutputPipe] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        into = await _InputPipe.attach(popen.stdin)
        pipes.append(into)
        out = await _OutputPipe.attach(popen.stdout)
        pipes.append(out)
        err = await _OutputPipe.attach(popen.stderr)
        pipes.append(err)
        feeder = asyncio.create_task(into.fill_from(stdin))
        drains = [
            asyncio.create_task(out.drain_into(stdout)),
            asyncio.create_task(err.drain_into(stderr)),
        ]
        tasks = [feeder, *drains]
        code = await asyncio.shield(program.finished)
        await asyncio.gather(*drains)
        return code
    finally:
        for task in tasks:
            task.cancel()
        if program.pid in programs.live:
            programs.signal(program.pid, signal.SIGKILL)
        for pipe in pipes:
            pipe.close()
