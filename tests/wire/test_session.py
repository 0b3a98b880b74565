"""Both state machines, driven by bytes alone."""

import msgspec
import numpy as np
import pytest

from mobilesplit.core.errors import RefusedError, WireError
from mobilesplit.wire import messages as m
from mobilesplit.wire.frames import Blob, encode_frame
from mobilesplit.wire.session import ClientSession, ServerSession

WELCOME = m.Welcome(
    server="s", model="vgg", bundle="d", codecs={"input": ("raw",)}, max_message_nbytes=4096
)
PROFILE = m.TailProfile(
    tail_ms={"input": (2.0,), "mid": (1.0,)},
    decode_ms={"input": {"raw": (0.1,)}, "mid": {"raw": (0.2,)}},
)
HELLO = m.encode_message(m.Hello(client="c", model="vgg"))


def answers(session):
    return [m.decode_message(data) for data in session.data_to_send()]


@pytest.fixture
def greeted():
    session = ServerSession(WELCOME, PROFILE)
    assert session.receive(HELLO) is None
    assert [answer.message for answer in answers(session)] == [WELCOME]
    return session


def test_a_job_is_an_event_with_its_blobs(greeted):
    job = m.Job(id=3, cut="input", codec="raw", deadline_ms=5.0)
    envelope = greeted.receive(m.encode_message(job, [Blob("x", np.ones(2))]))
    assert envelope.message == job
    np.testing.assert_array_equal(envelope.blobs[0].array, [1, 1])
    assert answers(greeted) == []


def test_a_ping_and_a_probe_are_answered_in_order(greeted):
    greeted.receive(m.encode_message(m.Ping(id=1)))
    greeted.receive(m.encode_message(m.Probe(id=2, reply_nbytes=100), [Blob("f", np.ones(9))]))
    pong, reply = answers(greeted)
    assert (pong.message, reply.message) == (m.Pong(id=1), m.ProbeReply(id=2))
    assert reply.blobs[0].nbytes == 100
    assert not greeted.closed


@pytest.mark.parametrize(
    ("cuts", "names"), [(None, {"input", "mid"}), (("mid", "other"), {"mid"}), ((), set())]
)
def test_the_tail_profile_is_of_the_cuts_asked_for(greeted, cuts, names):
    greeted.receive(m.encode_message(m.TailProfileRequest(cuts=cuts)))
    (answer,) = answers(greeted)
    assert answer.message.tail_ms.keys() == names
    assert answer.message.decode_ms.keys() == names


def frame(kind, body, blobs=()):
    return encode_frame(kind, msgspec.msgpack.encode(body), blobs)


PROBE_TOO_BIG = frame(m.Kind.PROBE, {"id": 1, "reply_nbytes": 2**23 + 1})


@pytest.mark.parametrize(
    ("data", "code", "why"),
    [
        ("hello", "protocol", "binary"),
        (b"garbage", "protocol", "its prefix alone"),
        (m.encode_message(m.Ping(id=1)), "protocol", "not Hello"),
        (m.encode_message(m.Hello(client="c", model="vgg", version=2)), "version", "version 2"),
        (HELLO[:4] + b"\x02" + HELLO[5:], "version", "wire version 2"),
        (m.encode_message(m.Hello(client="c", model="bert")), "model", "serves 'vgg'"),
        (frame(99, {}), "protocol", "no message of kind 99"),
        (frame(m.Kind.HELLO, {"client": "c"}), "protocol", "missing required field"),
    ],
)
def test_a_wrong_first_message_is_refused_and_closes(data, code, why):
    session = ServerSession(WELCOME, PROFILE)
    assert session.receive(data) is None
    assert session.closed
    (answer,) = answers(session)
    assert (answer.message.id, answer.message.code) == (None, code)
    assert why in answer.message.reason


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (HELLO, "does not send Hello here"),
        (m.encode_message(WELCOME), "does not send Welcome here"),
        (PROBE_TOO_BIG, "PROBE is invalid"),
        (frame(m.Kind.PING, {"id": -1}), "PING is invalid"),
        (frame(m.Kind.PING, {"id": 1, "more": 2}), "unknown field"),
        (frame(m.Kind.PING, {"id": 1}, [Blob("x", np.ones(1))]), "does not carry 1 blobs"),
        (frame(m.Kind.PROBE, {"id": 1, "reply_nbytes": 0}, [Blob("x", np.ones(1))] * 2), "2 blobs"),
        (bytes(5000), "at most 4096"),
    ],
)
def test_a_wrong_later_message_is_refused_and_closes(greeted, data, why):
    assert greeted.receive(data) is None
    assert greeted.closed
    (answer,) = answers(greeted)
    assert why in answer.message.reason


def test_refusing_a_job_keeps_the_session_open(greeted):
    greeted.refuse(m.Job(id=9, cut="input", codec="raw"), "busy", "why " * 1000, "wait")
    (answer,) = answers(greeted)
    assert (answer.message.id, answer.message.code) == (9, "busy")
    assert not greeted.closed


def test_the_client_keeps_the_welcome():
    client = ClientSession(client="c", model="vgg")
    server = ServerSession(WELCOME, PROFILE)
    server.receive(client.hello())
    client.receive(server.data_to_send()[0])
    assert client.welcome == WELCOME
    assert client.welcome.cuts == ("input",)


@pytest.mark.parametrize("data", ["text", b"garbage", HELLO, m.encode_message(m.Pong(id=1))])
def test_the_client_rejects_what_a_server_does_not_say_first(data):
    with pytest.raises(WireError):
        ClientSession(client="c", model="vgg").receive(data)


def test_the_client_raises_a_refusal_with_its_next_step():
    refused = m.encode_message(m.Refused(id=None, code="model", reason="No.", next_step="Go."))
    with pytest.raises(RefusedError, match=r"No\. Go\."):
        ClientSession(client="c", model="vgg").receive(refused)
