"""One adb connection, from the device's side: handshake, authorisation, streams.

Rule: one WRTE in flight per stream and direction. We acknowledge a piece when its reader takes
it, so a slow program slows the host down and nothing piles up here.
Source: AOSP packages/modules/adb/protocol.txt and adb.cpp.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Literal

from mobilesplit.emulator.adb_messages import (
    HEADER_NBYTES,
    MAX_PAYLOAD_NBYTES,
    MIN_PAYLOAD_NBYTES,
    VERSION,
    VERSION_WITH_CHECKSUM,
    AdbProtocolError,
    Command,
    Message,
    complete,
    decode_header,
    encode_header,
)

log = logging.getLogger(__name__)

AuthPolicy = Literal["accept", "refuse"]

_AUTH_TOKEN, _AUTH_SIGNATURE, _AUTH_PUBLIC_KEY = 1, 2, 3
_TOKEN_NBYTES = 20
_MAX_SIGNATURES = 64
"""Keys a host may try before it is shown the door."""
_MAX_STREAMS = 256
FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir,sendrecv_v2"


class AdbStream:
    """One stream of a connection: ``read`` and ``write`` bytes until either side closes."""

    def __init__(self, connection: AdbConnection, local_id: int, remote_id: int) -> None:
        self.local_id = local_id
        self.remote_id = remote_id
        self._connection = connection
        self._arrived: bytes | None = None
        self._awaiting_okay = False
        self._changed = asyncio.Event()
        self._write_lock = asyncio.Lock()
        self.closed = False

    @property
    def max_payload_nbytes(self) -> int:
        """Largest piece that travels in one message."""
        return self._connection.max_payload_nbytes

    async def read(self) -> bytes:
        """The next piece; empty once the stream is closed."""
        while self._arrived is None and not self.closed:
            self._changed.clear()
            await self._changed.wait()
        if self._arrived is None:
            return b""
        piece, self._arrived = self._arrived, None
        if not self.closed:
            await self._connection.send(Command.OKAY, self.local_id, self.remote_id)
        return piece

    async def write(self, data: bytes) -> None:
        """Send all of ``data``, waiting for each acknowledgement but the last.

        Raises:
            BrokenPipeError: the stream is closed.
        """
        async with self._write_lock:
            for start in range(0, len(data), self.max_payload_nbytes):
                while self._awaiting_okay and not self.closed:
                    self._changed.clear()
                    await self._changed.wait()
                if self.closed:
                    raise BrokenPipeError
                self._awaiting_okay = True
                piece = data
                if len(data) > self.max_payload_nbytes:
                    piece = data[start : start + self.max_payload_nbytes]
                await self._connection.send(Command.WRTE, self.local_id, self.remote_id, piece)

    def arrive(self, piece: bytes) -> None:
        """A WRTE came. Raises AdbProtocolError when the one before was not acknowledged."""
        if self._arrived is not None:
            raise AdbProtocolError("WRTE before the OKAY of the one before")
        self._arrived = piece
        self._changed.set()

    def acknowledge(self) -> None:
        """An OKAY came."""
        self._awaiting_okay = False
        self._changed.set()

    def mark_closed(self) -> None:
        """Whoever waits on this stream wakes up."""
        self.closed = True
        self._changed.set()


Service = Callable[[AdbStream], Awaitable[None]]
ServiceFinder = Callable[[bytes], Service | None]
"""From a service's name (``shell:ls``) to what serves it; None refuses it."""


class AdbConnection:
    """Runs one host's connection until it ends."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        banner: bytes,
        auth: AuthPolicy,
        find_service: ServiceFinder,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._banner = banner
        self._auth = auth
        self._find_service = find_service
        self.on_receive: Callable[[int], None] = lambda _: None
        """Told the size of every message of the host."""
        self._version = VERSION_WITH_CHECKSUM
        self.max_payload_nbytes = MIN_PAYLOAD_NBYTES
        self._streams: dict[int, AdbStream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._last_id = 0
        self._drain_lock = asyncio.Lock()
        peer_socket = writer.get_extra_info("socket")
        if peer_socket is not None:
            # A session trades small messages: Nagle would hold each for the peer's delayed ACK.
            peer_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self) -> None:
        """Serve until the host leaves or misbehaves; every program it started is gone after."""
        try:
            await self._handshake()
            while True:
                await self._dispatch(await self._receive())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except AdbProtocolError as error:
            log.warning("connection closed: %s", error)
        finally:
            await self._end()

    def drop(self) -> None:
        """As a pulled cable: nothing more goes out, and ``run`` ends."""
        self._writer.transport.abort()

    async def send(self, command: Command, arg0: int, arg1: int, payload: bytes = b"") -> None:
        """Send one message, waiting while the socket is full. A lost connection is not told
        here: the reading side sees it and ends everything."""
        message = Message(command, arg0, arg1, payload)
        if self._writer.is_closing():
            return
        if payload:
            self._writer.writelines((encode_header(message, version=self._version), payload))
        else:
            self._writer.write(encode_header(message, version=self._version))
        with contextlib.suppress(ConnectionError):
            async with self._drain_lock:
                await self._writer.drain()

    async def _receive(self) -> Message:
        header = decode_header(
            await self._reader.readexactly(HEADER_NBYTES),
            max_payload_nbytes=MAX_PAYLOAD_NBYTES,
        )
        payload = b""
        if header.payload_nbytes:
            payload = await self._reader.readexactly(header.payload_nbytes)
        self.on_receive(HEADER_NBYTES + len(payload))
        return complete(header, payload, version=self._version)

    async def _handshake(self) -> None:
        """CNXN, then token and signature until the public key; keys are not verified, the
        policy alone decides (the virtual phone has nothing to protect from its own user)."""
        hello = await self._receive()
        if hello.command is not Command.CNXN:
            raise AdbProtocolError(f"{hello.command.name} before CNXN")
        if hello.arg0 < VERSION_WITH_CHECKSUM:
            raise AdbProtocolError(f"version {hello.arg0:#x} is too old")
        max_payload_nbytes = min(hello.arg1, MAX_PAYLOAD_NBYTES)
        if max_payload_nbytes < MIN_PAYLOAD_NBYTES:
            raise AdbProtocolError(f"max data {hello.arg1} is too small")
        for _ in range(_MAX_SIGNATURES):
            await self.send(Command.AUTH, _AUTH_TOKEN, 0, os.urandom(_TOKEN_NBYTES))
            answer = await self._receive()
            if answer.command is not Command.AUTH:
                raise AdbProtocolError(f"{answer.command.name} instead of AUTH")
            if answer.arg0 == _AUTH_PUBLIC_KEY:
                break
            if answer.arg0 != _AUTH_SIGNATURE:
                raise AdbProtocolError(f"AUTH of type {answer.arg0}")
        else:
            raise AdbProtocolError(f"{_MAX_SIGNATURES} signatures and no public key")
        if self._auth == "refuse":
            # As a phone whose dialog nobody touches: say nothing, keep the connection.
            while True:
                await self._receive()
        self.max_payload_nbytes = max_payload_nbytes
        await self.send(Command.CNXN, min(hello.arg0, VERSION), MAX_PAYLOAD_NBYTES, self._banner)
        # Only now: the banner itself still carries a byte sum, which both kinds of host take.
        self._version = min(hello.arg0, VERSION)

    async def _dispatch(self, message: Message) -> None:
        if message.command is Command.OPEN:
            await self._open(message.arg0, message.payload)
            return
        if message.command not in (Command.WRTE, Command.OKAY, Command.CLSE):
            raise AdbProtocolError(f"{message.command.name} on an open connection")
        stream = self._streams.get(message.arg1)
        if stream is None or (message.arg0 not in (stream.remote_id, 0)):
            return  # late words for a stream that we closed
        if message.command is Command.WRTE:
            if message.payload:
                stream.arrive(message.payload)
            else:
                await self.send(Command.OKAY, stream.local_id, stream.remote_id)
        elif message.command is Command.OKAY:
            stream.acknowledge()
        else:
            # adb-shell hangs without an answering CLSE, whatever protocol.txt says.
            await self._close(stream)

    async def _open(self, remote_id: int, payload: bytes) -> None:
        name = payload.split(b"\0", 1)[0]
        if remote_id == 0:
            raise AdbProtocolError("OPEN with id 0")
        service = None if len(self._streams) >= _MAX_STREAMS else self._find_service(name)
        if service is None:
            log.info("no service %r", name[:80])
            await self.send(Command.CLSE, 0, remote_id)
            return
        self._last_id = self._last_id % 0xFFFFFFFF + 1
        stream = AdbStream(self, self._last_id, remote_id)
        self._streams[stream.local_id] = stream
        await self.send(Command.OKAY, stream.local_id, remote_id)
        self._tasks[stream.local_id] = asyncio.create_task(self._serve(service, stream))

    async def _serve(self, service: Service, stream: AdbStream) -> None:
        try:
            await service(stream)
        except (BrokenPipeError, EOFError):
            pass  # the host closed the stream in the middle
        except Exception:
            log.exception("service failed")
        finally:
            self._tasks.pop(stream.local_id, None)
            await self._close(stream)

    async def _close(self, stream: AdbStream) -> None:
        """Close once, tell the host once, and stop what serves it."""
        if self._streams.pop(stream.local_id, None) is None:
            return
        stream.mark_closed()
        task = self._tasks.get(stream.local_id)
        if task is not None:
            task.cancel()
        await self.send(Command.CLSE, stream.local_id, stream.remote_id)

    async def _end(self) -> None:
        tasks = list(self._tasks.values())
        for stream in self._streams.values():
            stream.mark_closed()
        self._streams.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
