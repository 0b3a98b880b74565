"""The server over real sockets, with a tail that the test holds and releases."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mobilesplit.cloud.server import Limits, serve
from mobilesplit.core.errors import MobilesplitError, UsageError
from mobilesplit.wire import messages as m
from mobilesplit.wire.frames import Blob
from tests.twice import ONES, PROFILE, TAIL_MS, RunningServer, TwiceExecutor

HELLO = m.encode_message(m.Hello(client="test", model="twice"))


class Server(RunningServer):
    def health(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            return json.load(answer)

    @contextlib.contextmanager
    def raw(self):
        with connect(f"ws://127.0.0.1:{self.port}", compression=None, close_timeout=1) as raw:
            yield raw

    @contextlib.contextmanager
    def client(self):
        with self.raw() as raw:
            raw.send(HELLO)
            assert isinstance(answer(raw), m.Welcome)
            yield raw


def answer(raw):
    return m.decode_message(raw.recv(timeout=10)).message


def job(number=1, *, blobs=ONES, **changes):
    fields = {"id": number, "cut": "input", "codec": "raw"} | changes
    return m.encode_message(m.Job(**fields), blobs)


@pytest.fixture
def server():
    running = Server(Limits(max_message_nbytes=4096, max_jobs_per_connection=2))
    yield running
    running.stop()


def test_a_job_is_answered_and_counted(server):
    with server.client() as client:
        client.send(job(5))
        envelope = m.decode_message(client.recv(timeout=10))
        assert (envelope.message.id, envelope.message.tail_runs) == (5, 1)
        assert envelope.message.tail_ms == TAIL_MS
        np.testing.assert_array_equal(envelope.blobs[0].array, [2, 2, 2, 2])
        assert server.health() == {
            "status": "ok",
            "model": "twice",
            "tail_runs": 1,
            "connections": 1,
        }


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (job(cut="middle"), "cut"),
        (job(cut="output"), "cut"),
        (job(codec="zip"), "codec"),
        (job(deadline_ms=0.0), "expired"),
        (job(deadline_ms=float("nan")), "expired"),
        (job(blobs=[]), "input"),
        (job(blobs=[Blob("x", np.ones(5, np.float32))]), "input"),
        (job(blobs=[Blob("x", -np.ones(4, np.float32))]), "failed"),
    ],
)
def test_a_job_that_cannot_be_is_refused_and_the_connection_lives(server, request_, code):
    with server.client() as client:
        client.send(request_)
        refused = answer(client)
        assert (refused.id, refused.code) == (1, code)
        client.send(job(2))
        assert answer(client).id == 2


@pytest.mark.parametrize("data", [b"garbage", "text", m.encode_message(m.Pong(id=1)), HELLO])
def test_what_is_no_request_closes_only_its_own_connection(server, data):
    with server.client() as other, server.client() as hostile:
        hostile.send(data)
        assert answer(hostile).code == "protocol"
        with pytest.raises(ConnectionClosed):
            hostile.recv(timeout=10)
        other.send(job())
        assert answer(other).id == 1


def test_a_message_over_the_limit_closes_its_connection(server):
    with server.client() as hostile:
        hostile.send(bytes(5000))
        with pytest.raises(ConnectionClosed) as caught:
            hostile.recv(timeout=10)
        assert caught.value.rcvd.code == 1009


def test_the_event_loop_answers_while_a_tail_runs(server):
    server.executor.go.clear()
    with server.client() as busy, server.client() as other:
        busy.send(job())
        assert server.executor.running.wait(10)
        other.send(m.encode_message(m.Probe(id=1, reply_nbytes=10)))
        assert answer(other) == m.ProbeReply(id=1)
        assert server.health()["connections"] == 2
        server.executor.go.set()
        assert answer(busy).id == 1


def test_more_jobs_than_the_queue_holds_are_refused_at_once(server):
    server.executor.go.clear()
    with server.client() as client:
        for number in (1, 2, 3):
            client.send(job(number))
        refused = answer(client)
        assert (refused.id, refused.code) == (3, "busy")
        server.executor.go.set()
        assert [answer(client).id, answer(client).id] == [1, 2]


def test_a_deadline_that_passes_in_the_queue_costs_no_tail(server):
    server.executor.go.clear()
    with server.client() as client:
        client.send(job(1))
        assert server.executor.running.wait(10)
        client.send(job(2, deadline_ms=1e-3))
        client.send(m.encode_message(m.Ping(id=9)))
        assert answer(client).id == 9  # so job 2 is in the queue
        server.executor.go.set()
        assert answer(client).id == 1
        refused = answer(client)
        assert (refused.id, refused.code) == (2, "expired")
        assert server.executor.tail_runs == 1


def test_a_job_whose_client_has_left_is_not_run(server):
    server.executor.go.clear()
    with server.client() as first:
        first.send(job(1))
        assert server.executor.running.wait(10)
        with server.client() as leaving:
            leaving.send(job(1))
            leaving.send(m.encode_message(m.Ping(id=1)))
            assert answer(leaving).id == 1
        while server.health()["connections"] > 1:
            time.sleep(0.01)
        server.executor.go.set()
        answer(first)
        first.send(job(2))
        assert answer(first).tail_runs == 2


def test_stopping_finishes_the_running_job_refuses_the_waiting_and_closes_with_1001(server):
    server.executor.go.clear()
    with server.client() as client:
        client.send(job(1))
        assert server.executor.running.wait(10)
        client.send(job(2))
        client.send(m.encode_message(m.Ping(id=9)))
        assert answer(client).id == 9
        server.tell_to_stop()
        while server.health()["status"] != "stopping":
            time.sleep(0.01)
        with pytest.raises(InvalidStatus, match="503"):
            connect(f"ws://127.0.0.1:{server.port}")
        server.executor.go.set()
        assert isinstance(answer(client), m.Result)
        assert answer(client).code == "stopping"
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd.code == 1001


def test_who_says_nothing_is_disconnected():
    server = Server(Limits(opening_s=0.3))
    try:
        with server.raw() as silent, pytest.raises(ConnectionClosed):
            silent.recv(timeout=10)
    finally:
        server.stop()


def test_connections_over_the_limit_are_turned_away():
    server = Server(Limits(max_connections=1))
    try:
        with server.client(), pytest.raises(InvalidStatus, match="503"), server.raw():
            pass
    finally:
        server.stop()


def serve_on(host, port):
    asyncio.run(
        serve(TwiceExecutor(), host=host, port=port, profile=PROFILE, ready=lambda port: None)
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org"])
def test_an_address_that_others_reach_needs_insecure(host):
    with pytest.raises(UsageError, match="no authentication"):
        serve_on(host, 0)


def test_a_taken_port_says_so():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MobilesplitError, match=r"port is taken.*--port"):
            serve_on("127.0.0.1", port)


def test_sigterm_ends_the_process_cleanly_and_no_torch_was_loaded():
    program = (
        "import asyncio, sys, test_server as t\n"
        "ready = lambda port: print(port, 'torch' in sys.modules, flush=True)\n"
        "asyncio.run(t.serve(t.TwiceExecutor(), profile=t.PROFILE, ready=ready))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            port, torch_loaded = process.stdout.readline().split()
            assert torch_loaded == "False"
            with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
                client.send(HELLO)
                answer(client)
                process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed) as caught:
                    client.recv(timeout=10)
                assert caught.value.rcvd.code == 1001
            assert process.wait(10) == 0
        finally:
            process.kill()
