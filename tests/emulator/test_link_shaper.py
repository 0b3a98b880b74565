"""The shaper changes when bytes arrive, never which. Times are lower bounds, which cannot flake."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from mobilesplit.core.errors import MobilesplitError
from mobilesplit.core.links import Link
from mobilesplit.emulator.link_shaper import LinkShaper, precise_event_loop

FAST = Link(uplink_bps=1e9, downlink_bps=1e9, rtt_ms=1)
PAYLOAD = random.Random(1).randbytes(700_000)


def shaped(link, handle, talk):
    """Run ``talk(reader, writer)`` against ``handle(reader, writer)`` over a shaped link."""

    async def both():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, LinkShaper(link, "127.0.0.1", 0, "127.0.0.1", port) as shaper:
            reader, writer = await asyncio.open_connection("127.0.0.1", shaper.port)
            try:
                return await asyncio.wait_for(talk(reader, writer), 20)
            finally:
                writer.close()

    with asyncio.Runner(loop_factory=precise_event_loop) as runner:
        return runner.run(both())


async def echo_all(reader, writer):
    """Read to the end, then send it all back: works only if half-close is passed on."""
    writer.write(await reader.read())
    await writer.drain()
    writer.close()


async def send_all(reader, writer):
    started = time.perf_counter()
    writer.write(PAYLOAD)
    writer.write_eof()
    return await reader.read(), time.perf_counter() - started


@pytest.mark.parametrize("jitter_ms", [0, 20])
def test_bytes_and_half_close_pass_both_ways_in_order(jitter_ms):
    link = FAST.model_copy(update={"jitter_ms": jitter_ms})
    received, _ = shaped(link, echo_all, send_all)
    assert received == PAYLOAD


def test_both_rates_and_the_delay_hold_back():
    link = Link(uplink_bps=20e6, downlink_bps=40e6, rtt_ms=100)
    received, took_s = shaped(link, echo_all, send_all)
    assert received == PAYLOAD
    bits = len(PAYLOAD) * 8
    # One round trip of TCP's handshake, one of the data.
    assert took_s >= bits / 20e6 + bits / 40e6 + 0.2


def test_two_connections_share_the_link():
    link = Link(uplink_bps=8e6, downlink_bps=8e6, rtt_ms=0)

    async def discard(reader, writer):
        while await reader.read(65536):
            pass
        writer.close()

    async def both():
        server = await asyncio.start_server(discard, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, LinkShaper(link, "127.0.0.1", 0, "127.0.0.1", port) as shaper:

            async def send():
                reader, writer = await asyncio.open_connection("127.0.0.1", shaper.port)
                writer.write(bytes(100_000))
                writer.write_eof()
                await reader.read()
                writer.close()

            started = time.perf_counter()
            await asyncio.gather(send(), send())
            return time.perf_counter() - started

    assert asyncio.run(both()) >= 0.2


def test_a_sender_is_slowed_and_not_buffered_without_end():
    link = Link(uplink_bps=1e6, downlink_bps=1e6, rtt_ms=20)

    async def discard(reader, writer):
        await reader.read()

    async def talk(reader, writer):
        sock = writer.get_extra_info("socket")
        writer.transport.set_write_buffer_limits(high=0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        sent = 0
        try:
            async with asyncio.timeout(0.5):
                while sent < 50_000_000:
                    writer.write(bytes(65536))
                    await writer.drain()
                    sent += 65536
        except TimeoutError:
            pass
        writer.transport.abort()
        return sent

    assert shaped(link, discard, talk) < 2_000_000


def test_a_reset_is_passed_on():
    async def reset(reader, writer):
        await reader.readexactly(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async def talk(reader, writer):
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        return True

    assert shaped(FAST, reset, talk)


def test_a_target_that_is_down_resets_the_connection():
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()

    async def connect():
        async with LinkShaper(FAST, "127.0.0.1", 0, "127.0.0.1", port) as shaper:
            reader, writer = await asyncio.open_connection("127.0.0.1", shaper.port)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)
            writer.close()

    asyncio.run(connect())


def test_a_taken_port_says_so():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        shaper = LinkShaper(FAST, "127.0.0.1", taken.getsockname()[1], "127.0.0.1", 1)
        with pytest.raises(MobilesplitError, match="cannot listen on"):
            asyncio.run(shaper.__aenter__())


@pytest.fixture
def process():
    command = [sys.executable, "-m", "mobilesplit.emulator.link_shaper"]
    command += ["--link-json", FAST.save(), "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"]
    with subprocess.Popen(
        [*command, "--exit-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        started.kill()


def test_the_process_is_ready_and_ends_with_its_stdin(process):
    ready = json.loads(process.stdout.readline())
    assert ready.keys() == {"event", "port"} and ready["event"] == "ready"
    socket.create_connection(("127.0.0.1", ready["port"])).close()
    process.stdin.close()
    assert process.wait(10) == 0


def test_the_process_ends_at_sigterm(process):
    process.stdout.readline()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(10) == 0
