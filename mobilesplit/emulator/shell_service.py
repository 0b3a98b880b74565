"""The services ``shell:``, ``shell,v2,..:`` and ``exec:``.

Rule: with v2 every byte of output travels in a packet that says which stream it is; without,
stdout and stderr share the stream and there is no exit code. When the host closes the stream or
is lost, the shell gets SIGHUP: it ends, and its programs with it, unless it has trapped HUP.
Source: AOSP packages/modules/adb/shell_protocol.h, daemon/shell_service.cpp.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from enum import IntEnum

from mobilesplit.emulator.adbd import AdbStream, Service
from mobilesplit.emulator.byte_streams import ByteSink, ExactReader, Pipe
from mobilesplit.emulator.phone import VirtualPhone
from mobilesplit.emulator.shell import Invocation, Shell, ShellExit
from mobilesplit.emulator.shell_commands import run_lines
from mobilesplit.emulator.system_commands import COMMANDS

log = logging.getLogger(__name__)

PACKET_HEADER = struct.Struct("<BI")


class PacketId(IntEnum):
    """First byte of a v2 packet."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4
    WINDOW_SIZE = 5


class PacketSink:
    """Writes to one stream of a v2 conversation."""

    def __init__(self, stream: AdbStream, packet_id: PacketId) -> None:
        self._stream = stream
        self._id = packet_id

    async def write(self, data: bytes) -> None:
        most = self._stream.max_payload_nbytes - PACKET_HEADER.size
        for start in range(0, len(data), most):
            piece = data[start : start + most]
            await self._stream.write(PACKET_HEADER.pack(self._id, len(piece)) + piece)


def find_shell_service(phone: VirtualPhone, name: bytes) -> Service | None:
    """The service for an OPEN of ``name``; None when it is not a shell's."""
    kind, colon, command = name.partition(b":")
    options = kind.split(b",")
    if not colon or options[0] not in (b"shell", b"exec"):
        return None
    line = command.decode(errors="surrogateescape")
    is_v2 = b"v2" in options[1:]

    async def serve(stream: AdbStream) -> None:
        stdout: ByteSink = PacketSink(stream, PacketId.STDOUT) if is_v2 else stream
        stderr: ByteSink = PacketSink(stream, PacketId.STDERR) if is_v2 else stream
        stdin = Pipe()
        shell = Shell(phone, COMMANDS)
        streams = Invocation(phone, shell, shell.state, [], stdin, stdout, stderr)

        async def run() -> None:
            pump = asyncio.create_task((_unpack if is_v2 else _pass_on)(stream, stdin))
            try:
                code = await _run(line, streams) & 0xFF
                if is_v2:
                    await stream.write(PACKET_HEADER.pack(PacketId.EXIT, 1) + bytes([code]))
            finally:
                pump.cancel()

        running = asyncio.create_task(run())
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            # adbd sends SIGHUP and closes its ends of the pipes.
            if "HUP" in shell.state.ignored_signals:
                phone.adopt(running)
            else:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            raise

    return serve


async def _run(line: str, streams: Invocation) -> int:
    """One command line, or with an empty one what comes on stdin, line by line."""
    shell = streams.shell
    if not line:
        return await run_lines(shell, streams)
    try:
        return await shell.run(line, streams.stdin, streams.stdout, streams.stderr)
    except ShellExit as leaving:
        return leaving.code


async def _pass_on(stream: AdbStream, stdin: Pipe) -> None:
    while data := await stream.read():
        await stdin.write(data)
    stdin.end()


async def _unpack(stream: AdbStream, stdin: Pipe) -> None:
    """Stdin packets, passed on as they arrive, however long they say they are."""
    reader = ExactReader(stream)
    while True:
        try:
            packet_id, nbytes = PACKET_HEADER.unpack(await reader.exactly(PACKET_HEADER.size))
        except EOFError:
            break
        if packet_id not in (PacketId.STDIN, PacketId.CLOSE_STDIN, PacketId.WINDOW_SIZE):
            log.warning("shell packet with id %d from the host", packet_id)
            break
        while nbytes:
            piece = await reader.some(nbytes)
            if not piece:
                break
            nbytes -= len(piece)
            if packet_id == PacketId.STDIN:
                await stdin.write(bytes(piece))
        if packet_id == PacketId.CLOSE_STDIN:
            stdin.end()
    stdin.end()
