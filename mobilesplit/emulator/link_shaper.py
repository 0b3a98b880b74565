"""A TCP proxy that makes loopback behave like a link: rates, delay and jitter, each way.

Each direction has one transmitter that all connections share: a chunk occupies it for
``nbytes * 8 / rate``, and arrives half a round trip after its last bit was sent, plus its burst's
jitter. A burst is what keeps the link busy without a gap, so that a long message is delayed once
and never reordered. Everything is scheduled by deadlines on the loop's clock: being woken late
shifts nothing that comes after.

It shapes what TCP delivers: no loss, no slow start. Run it as a process
(``python -m mobilesplit.emulator.link_shaper``) to keep it away from the work that is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import selectors
import signal
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable

from mobilesplit.core.errors import MobilesplitError
from mobilesplit.core.links import Link

_CHUNK_S = 0.004
_MIN_CHUNK_NBYTES = 4 * 1024
_MAX_CHUNK_NBYTES = 64 * 1024
_BACKLOG_S = 0.02
"""How far the transmitter is fed ahead: more than a late wake-up, less than anyone notices."""
_BURST_GAP_S = 0.005
"""A sender that is late by no more than this is still in its burst."""
_OWN_DELAY_S = 0.00035
"""What passing through this process adds at least, one way; taken off the link's own delay."""
_SOCKET_NBYTES = 128 * 1024
"""Kernel receive buffer. Under two loopback segments (64 KiB) TCP would stall on its own."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Direction:
    """One way of the link: its transmitter, shared by all connections."""

    def __init__(self, rate_bps: float, delay_s: float, jitter_s: float) -> None:
        self.rate_bps = rate_bps
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        self.free_at_s = 0.0
        chunk_nbytes = int(rate_bps / 8 * _CHUNK_S)
        self.chunk_nbytes = min(max(chunk_nbytes, _MIN_CHUNK_NBYTES), _MAX_CHUNK_NBYTES)
        # What is on its way after transmission, and room for a receiver that is slow for a moment.
        in_flight_s = delay_s + jitter_s + _BACKLOG_S
        self.max_queued_nbytes = int(rate_bps / 8 * in_flight_s) + 4 * self.chunk_nbytes

    def transmit(self, nbytes: int, now_s: float) -> float:
        """When the last bit of a chunk leaves that was handed over at ``now_s``."""
        self.free_at_s = max(self.free_at_s, now_s) + nbytes * 8 / self.rate_bps
        return self.free_at_s


class _Pump:
    """One direction of one connection: reads, holds each chunk until it is due, writes."""

    def __init__(
        self,
        direction: _Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rng: random.Random,
    ) -> None:
        self._direction = direction
        self._reader = reader
        self._writer = writer
        self._rng = rng
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_nbytes = 0
        self._changed = asyncio.Event()
        self._jitter_s = 0.0
        self._sent_at_s = float("-inf")
        self._due_s = float("-inf")

    async def run(self) -> None:
        """Until the end of the stream has been passed on. Raises OSError for a reset."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take())
            group.create_task(self._deliver())

    async def _take(self) -> None:
        direction, loop = self._direction, asyncio.get_running_loop()
        while True:
            await _sleep_until(direction.free_at_s - _BACKLOG_S)
            while self._queued_nbytes > direction.max_queued_nbytes:
                self._changed.clear()
                await self._changed.wait()
            chunk = await self._reader.read(direction.chunk_nbytes)
            now_s = loop.time()
            if now_s > self._sent_at_s + _BURST_GAP_S:
                self._jitter_s = self._rng.uniform(0.0, direction.jitter_s)
            self._sent_at_s = direction.transmit(len(chunk), now_s)
            self._due_s = max(self._due_s, self._sent_at_s + direction.delay_s + self._jitter_s)
            self._queue.append((self._due_s, chunk))
            self._queued_nbytes += len(chunk)
            self._changed.set()
            if not chunk:
                return

    async def _deliver(self) -> None:
        while True:
            while not self._queue:
                self._changed.clear()
                await self._changed.wait()
            due_s, chunk = self._queue[0]
            await _sleep_until(due_s)
            if not chunk:
                self._writer.write_eof()
                return
            self._writer.write(chunk)
            await self._writer.drain()
            self._queue.popleft()
            self._queued_nbytes -= len(chunk)
            self._changed.set()


class LinkShaper:
    """The proxy; an async context manager.

    Args:
        link: what to behave like. The uplink is from whoever connects to the target.
        listen_port: 0 takes a free one; `port` says which.
        rng: for the jitter; None: seeded with 0, so that runs repeat.

    Raises:
        MobilesplitError: on entry, when the address cannot be bound.
    """

    def __init__(
        self,
        link: Link,
        listen_host: str,
        listen_port: int,
        target_host: str,
        target_port: int,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self.port = listen_port
        self._listen_host = listen_host
        self._target = (target_host, target_port)
        self._rng = rng or random.Random(0)  # noqa: S311 - jitter is no secret
        self._rtt_s = link.rtt_ms / 1e3
        delay_s, jitter_s = max(self._rtt_s / 2 - _OWN_DELAY_S, 0.0), link.jitter_ms / 1e3
        self._uplink = _Direction(link.uplink_bps, delay_s, jitter_s)
        self._downlink = _Direction(link.downlink_bps, delay_s, jitter_s)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LinkShaper:
        listener = socket.socket()
        # Accepted connections inherit both. asyncio would not set the second on its own here,
        # and Nagle's algorithm would hold the end of a message back for 40 ms.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_NBYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._listen_host, self.port))
        except OSError as error:
            listener.close()
            raise MobilesplitError(
                f"The link shaper cannot listen on {self._listen_host}:{self.port}: {error}.",
                next_step="Choose another port, or 0 for a free one.",
            ) from None
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(
            self._accept, sock=listener, limit=self._uplink.chunk_nbytes
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # The kernel shook hands at once; over the link it would have taken a round trip.
            await asyncio.sleep(self._rtt_s)
            target_reader, target_writer = await self._connect()
        except BaseException as error:
            _reset(writer)
            if isinstance(error, OSError):
                return
            raise
        try:
            async with asyncio.TaskGroup() as group:
                up = _Pump(self._uplink, reader, target_writer, self._rng)
                down = _Pump(self._downlink, target_reader, writer, self._rng)
                group.create_task(up.run())
                group.create_task(down.run())
        except* OSError:
            # One side reset its connection: so does the link to the other.
            _reset(writer)
            _reset(target_writer)
        finally:
            writer.close()
            target_writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(*self._target, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        target = socket.socket(family, kind, protocol)
        try:
            target.setblocking(False)
            target.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_NBYTES)
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(target, address)
        except BaseException:
            target.close()
            raise
        return await asyncio.open_connection(sock=target, limit=self._downlink.chunk_nbytes)


async def _sleep_until(due_s: float) -> None:
    delay_s = due_s - asyncio.get_running_loop().time()
    if delay_s > 0:
        await asyncio.sleep(delay_s)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, and let the other end see a reset."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


def precise_event_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers are good to some 0.1 ms: epoll, the default, rounds up to whole ms."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    shaper = LinkShaper(
        Link.load(arguments.link_json, source="--link-json"),
        *arguments.listen,
        *arguments.to,
        rng=random.Random(arguments.seed),  # noqa: S311 - jitter is no secret
    )
    async with shaper:
        if arguments.exit_with_parent:
            _when_stdin_ends(lambda: loop.call_soon_threadsafe(stop.set))
        print(json.dumps({"event": "ready", "port": shaper.port}), flush=True)
        await stop.wait()


def _when_stdin_ends(call: Callable[[], object]) -> None:
    def wait() -> None:
        # os.read, not sys.stdin: a thread inside sys.stdin blocks the interpreter's exit.
        while os.read(0, 4096):
            pass
        call()

    threading.Thread(target=wait, daemon=True).start()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main(arguments: list[str] | None = None) -> int:
    """Run a shaper until a signal, or until stdin ends."""
    parser = argparse.ArgumentParser(prog="link_shaper", description=__doc__.splitlines()[0])
    parser.add_argument("--link-json", required=True, help="a Link document")
    parser.add_argument("--listen", type=_address, required=True, metavar="HOST:PORT")
    parser.add_argument("--to", type=_address, required=True, metavar="HOST:PORT")
    parser.add_argument("--seed", type=int, default=0, help="of the jitter")
    parser.add_argument("--exit-with-parent", action="store_true", help="exit when stdin ends")
    # Being woken in time is what this process is for; without the right to it, it does without.
    with contextlib.suppress(OSError):
        os.nice(-10)
    try:
        with asyncio.Runner(loop_factory=precise_event_loop) as runner:
            runner.run(_serve(parser.parse_args(arguments)))
    except MobilesplitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
