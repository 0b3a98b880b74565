"""A deadline that passes in the middle of a message breaks nothing."""

from __future__ import annotations

import fcntl
import resource
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from mobilesplit.device.deadline import Deadline
from mobilesplit.device.transports.tcp_link import TcpLink


def message(payload: bytes) -> bytes:
    return struct.pack("<6I", 1, 2, 3, len(payload), 0, 0) + payload


def write(link: TcpLink, whole: bytes) -> None:
    """As adb-shell does: the header, then the payload."""
    link.bulk_write(whole[:24], None)
    link.bulk_write(whole[24:], None)


@pytest.fixture
def ends() -> Iterator[tuple[TcpLink, socket.socket]]:
    """A link, and the device's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = TcpLink("127.0.0.1", listener.getsockname()[1], Deadline(10))
        link.connect(None)
        device, _ = listener.accept()
        with device:
            yield link, device
        link.close()


def test_a_message_that_comes_in_halves_is_read_whole_later(
    ends: tuple[TcpLink, socket.socket],
) -> None:
    link, device = ends
    sent = message(b"payload") + message(b"")
    device.sendall(sent[:27])
    link.deadline = Deadline(0.05)
    with pytest.raises(TimeoutError):
        link.bulk_read(24, None)
    link.deadline = Deadline(10)
    device.sendall(sent[27:])
    assert link.bulk_read(24, None) + link.bulk_read(7, None) == message(b"payload")
    assert link.bulk_read(24, None) == message(b"")


def test_a_message_that_was_half_sent_goes_before_the_next(
    ends: tuple[TcpLink, socket.socket],
) -> None:
    link, device = ends
    first = message(bytes(range(256)) * 100_000)
    link.deadline = Deadline(0.05)
    with pytest.raises(TimeoutError):
        write(link, first)
    link.deadline = Deadline(10)
    came = bytearray()

    def take() -> None:
        while len(came) < len(first) + len(message(b"next")):
            came.extend(device.recv(1 << 20))

    device.settimeout(10)
    taker = threading.Thread(target=take)
    taker.start()
    write(link, message(b"next"))
    taker.join()
    assert bytes(came) == first + message(b"next")


def test_a_header_without_its_payload_is_never_sent_alone(
    ends: tuple[TcpLink, socket.socket],
) -> None:
    link, device = ends
    link.bulk_write(message(b"late")[:24], None)
    device.setblocking(False)
    with pytest.raises(BlockingIOError):
        device.recv(1)
    link.deadline = Deadline(0)
    with pytest.raises(TimeoutError):
        link.bulk_write(b"late", None)
    link.deadline = Deadline(10)
    write(link, message(b"next"))
    device.settimeout(10)
    whole = message(b"late") + message(b"next")
    assert device.recv(len(whole), socket.MSG_WAITALL) == whole


def test_a_message_of_which_nothing_was_sent_can_be_withdrawn(
    ends: tuple[TcpLink, socket.socket],
) -> None:
    link, device = ends
    link.deadline = Deadline(0)
    for payload in (b"kept", b"withdrawn"):
        with pytest.raises(TimeoutError):
            write(link, message(payload))
    assert link.withdraw()
    link.deadline = Deadline(10)
    write(link, message(b"next"))
    device.settimeout(10)
    whole = message(b"kept") + message(b"next")
    assert device.recv(len(whole), socket.MSG_WAITALL) == whole
    assert not link.withdraw()


def test_what_is_no_adb_is_refused_before_it_is_kept(ends: tuple[TcpLink, socket.socket]) -> None:
    link, device = ends
    device.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ConnectionResetError, match="this is no adb"):
        link.bulk_read(24, None)


def test_a_closed_end_is_noticed(ends: tuple[TcpLink, socket.socket]) -> None:
    link, device = ends
    device.close()
    with pytest.raises(ConnectionResetError, match="the device closed the connection"):
        link.bulk_read(24, None)


def test_a_link_works_beyond_the_1023_descriptors_of_select(
    ends: tuple[TcpLink, socket.socket],
) -> None:
    link, device = ends
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"this machine allows {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    try:
        far = fcntl.fcntl(link._connection, fcntl.F_DUPFD, 1500)
        link._connection.close()
        link._connection = socket.socket(fileno=far)
        write(link, message(b"there"))
        device.settimeout(10)
        whole = message(b"there")
        assert device.recv(len(whole), socket.MSG_WAITALL) == whole
        device.sendall(message(b""))
        assert link.bulk_read(24, None) == message(b"")
    finally:
        link.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
