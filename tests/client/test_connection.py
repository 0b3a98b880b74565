"""The client against a real server, and against ones that stall, lie or leave."""

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
from websockets.sync.server import serve as serve_sync

from mobilesplit.client.connection import CloudConnection
from mobilesplit.client.link_probe import measure_link
from mobilesplit.cloud.server import Limits
from mobilesplit.core.errors import (
    CloudError,
    RefusedError,
    ServerGoneError,
    UsageError,
    WireError,
)
from mobilesplit.wire import messages as m
from tests.twice import ONES, PROFILE, TAIL_MS, RunningServer, make_manifest

WELCOME = m.Welcome(
    server="fake", model="twice", bundle="d", codecs={"input": ("raw",)}, max_message_nbytes=2**25
)


@pytest.fixture(scope="module")
def url():
    running = RunningServer(Limits(max_message_nbytes=2**20))
    yield f"ws://127.0.0.1:{running.port}"
    running.stop()


def test_a_tail_is_run_and_everything_measured(url):
    with CloudConnection.open(url, "twice") as connection:
        answer = connection.run_tail("input", "raw", ONES, deadline_ms=5000)
        np.testing.assert_array_equal(answer.outputs[0], [2, 2, 2, 2])
        assert answer.tail_ms == TAIL_MS
        assert answer.tail_runs >= 1
        assert 0 < answer.network_ms < answer.round_trip_ms
        assert answer.sent_bytes > 16
        assert answer.received_bytes > 16
        assert connection.tail_profile() == PROFILE
        assert connection.welcome.bundle == m.bundle_digest(make_manifest())


def test_a_refused_job_leaves_the_connection_usable(url):
    with CloudConnection.open(url, "twice") as connection:
        with pytest.raises(RefusedError, match=r"no tail at cut 'middle'. Known: input."):
            connection.run_tail("middle", "raw", ONES)
        assert connection.run_tail("input", "raw", ONES).outputs


def test_another_model_is_refused_when_opening(url):
    with pytest.raises(RefusedError, match="serves 'twice', not 'bert'"):
        CloudConnection.open(url, "bert")


def test_a_message_over_the_servers_limit_is_not_even_sent(url):
    with CloudConnection.open(url, "twice") as connection:
        with pytest.raises(WireError, match="takes at most 1048576"):
            connection.probe(2**20, 0)
        assert connection.probe(100, 0) > 0


def test_a_link_is_measured_in_raw_samples(url):
    with CloudConnection.open(url, "twice") as connection:
        measured = measure_link(connection, pings=5, bulk_nbytes=100_000, repeats=2)
    assert [len(measured.rtt_ms), len(measured.uplink_bps), len(measured.downlink_bps)] == [5, 2, 2]
    assert min(measured.rtt_ms + measured.uplink_bps + measured.downlink_bps) > 0
    assert measured.uplink_nbytes == measured.downlink_nbytes == 100_000


def test_nobody_there_names_the_url_and_the_next_step():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(CloudError, match=rf"ws://127.0.0.1:{port}: .*mobilesplit serve"):
        CloudConnection.open(f"ws://127.0.0.1:{port}", "twice")


@pytest.mark.parametrize("url", ["127.0.0.1:80", "http://x", "ws://", "", "ws://h:port"])
def test_what_is_no_url_is_a_usage_error(url):
    with pytest.raises(UsageError, match="not a websocket URL"):
        CloudConnection.open(url, "twice")


def test_a_server_that_is_no_websocket_server_is_a_cloud_error():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak_smtp():
            with contextlib.suppress(OSError):
                client, _ = server.accept()
                client.sendall(b"220 mail\r\n")
                client.recv(65536)
                client.close()

        thread = threading.Thread(target=speak_smtp)
        thread.start()
        with pytest.raises(CloudError, match="Cannot connect"):
            CloudConnection.open(f"ws://127.0.0.1:{server.getsockname()[1]}", "twice")
        thread.join(10)


def test_a_server_that_accepts_and_stays_silent_is_a_cloud_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(CloudError, match="no answer in time"):
            CloudConnection.open(url, "twice", connect_timeout_s=0.2)


@contextlib.contextmanager
def faulty_server(handle):
    """A websocket server that welcomes, and then does what ``handle(socket)`` does."""

    def welcome_first(connection):
        connection.recv()
        connection.send(m.encode_message(WELCOME))
        handle(connection)

    server = serve_sync(welcome_first, "127.0.0.1", 0, compression=None, close_timeout=0.2)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join(10)


def leave(connection):
    connection.recv()
    connection.close_socket()


def answering(data):
    def handle(connection):
        connection.recv()
        connection.send(data)
        with contextlib.suppress(Exception):
            connection.recv(timeout=5)

    return handle


def result(number):
    return m.encode_message(m.Result(id=number, decode_ms=0, tail_ms=0, queue_ms=0, tail_runs=0))


@pytest.mark.parametrize(
    ("handle", "error", "why"),
    [
        (leave, ServerGoneError, "was lost"),
        (answering(b"garbage"), WireError, "prefix"),
        (answering("text"), WireError, "text message"),
        (answering(m.encode_message(m.Pong(id=1))), WireError, "answered Pong, not Result"),
        (answering(result(2)), WireError, "answered message 2, not 1"),
        (answering(m.encode_message(WELCOME)), WireError, "does not send Welcome here"),
    ],
)
def test_a_server_that_fails_mid_job_ends_the_job_with_one_error(handle, error, why):
    with faulty_server(handle) as url, CloudConnection.open(url, "twice") as connection:
        with pytest.raises(error, match=why):
            connection.run_tail("input", "raw", ONES, timeout_s=10)
        with pytest.raises(ServerGoneError):
            connection.run_tail("input", "raw", ONES, timeout_s=10)


def test_a_server_that_never_answers_is_gone_in_time():
    released = threading.Event()
    with (
        faulty_server(lambda connection: released.wait(20)) as url,
        CloudConnection.open(url, "twice") as connection,
    ):
        started = time.monotonic()
        with pytest.raises(ServerGoneError, match=r"within 0\.2 s"):
            connection.run_tail("input", "raw", ONES, timeout_s=0.2)
        assert time.monotonic() - started < 5
        released.set()


def test_a_server_that_reads_no_more_does_not_hold_a_send_for_ever():
    released = threading.Event()

    def stop_reading(connection):
        connection.recv_flow_control.acquire()
        released.wait(20)
        connection.recv_flow_control.release()

    with (
        faulty_server(stop_reading) as url,
        CloudConnection.open(url, "twice") as connection,
    ):
        started = time.monotonic()
        with pytest.raises(ServerGoneError, match=r"within 0\.3 s"):
            connection.probe(30_000_000, 0, timeout_s=0.3)
        assert time.monotonic() - started < 5
        released.set()
