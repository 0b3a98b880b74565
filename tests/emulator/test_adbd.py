"""Hosts that do not keep to the protocol, on a raw socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from mobilesplit.emulator.adb_messages import (
    HEADER_NBYTES,
    VERSION,
    Command,
    Message,
    encode,
)
from tests.emulator.virtual_phone_parts import Phone

_CHECKED = 0x01000000


class RawHost:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.version = _CHECKED

    def send(self, command: Command, arg0: int, arg1: int, payload: bytes = b"") -> None:
        self.socket.sendall(encode(Message(command, arg0, arg1, payload), version=self.version))

    def receive(self) -> tuple[bytes, int, int, bytes]:
        header = self.exactly(HEADER_NBYTES)
        name, arg0, arg1, nbytes, check, _ = struct.unpack("<4s5I", header)
        payload = self.exactly(nbytes)
        assert check == (sum(payload) if self.version == _CHECKED else 0)
        return name, arg0, arg1, payload

    def exactly(self, nbytes: int) -> bytes:
        data = b""
        while len(data) < nbytes:
            piece = self.socket.recv(nbytes - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def connect(self, version: int = _CHECKED, max_nbytes: int = 1 << 20) -> bytes:
        self.send(Command.CNXN, version, max_nbytes, b"host::test\0")
        name, kind, _, token = self.receive()
        assert (name, kind, len(token)) == (b"AUTH", 1, 20)
        self.send(Command.AUTH, 2, 0, bytes(256))
        name, kind, _, another = self.receive()
        assert (name, kind) == (b"AUTH", 1) and another != token
        self.send(Command.AUTH, 3, 0, b"a public key\0")
        name, agreed, _, banner = self.receive()
        assert (name, agreed) == (b"CNXN", min(version, VERSION))
        self.version = agreed
        return banner

    def is_hung_up(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def host(phone: Phone) -> Iterator[RawHost]:
    raw = RawHost(phone.port)
    yield raw
    raw.socket.close()


@pytest.mark.parametrize("version", [0x01000000, 0x01000001, 0x01000002])
def test_the_lower_version_is_spoken(host: RawHost, version: int) -> None:
    banner = host.connect(version)
    assert banner.startswith(b"device::ro.product.name=midrange_2021;")
    assert banner.endswith(b";features=shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir,sendrecv_v2")
    host.send(Command.OPEN, 5, 0, b"shell:echo hi\0")
    name, theirs, ours, _ = host.receive()
    assert (name, ours) == (b"OKAY", 5) and theirs != 0
    assert host.receive() == (b"WRTE", theirs, 5, b"hi\n")
    host.send(Command.OKAY, 5, theirs)
    assert host.receive() == (b"CLSE", theirs, 5, b"")


def test_a_piece_is_at_most_what_the_host_takes_and_waits_for_its_okay(host: RawHost) -> None:
    host.connect(max_nbytes=4096)
    host.send(Command.OPEN, 5, 0, b"exec:cat; cat\0")
    _, theirs, _, _ = host.receive()
    host.send(Command.WRTE, 5, theirs, bytes(10_000))
    answers = [host.receive() for _ in range(2)]
    assert sorted(answer[0] for answer in answers) == [b"OKAY", b"WRTE"]
    assert all(len(answer[3]) in (0, 4096) for answer in answers)
    host.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        host.receive()
    host.socket.settimeout(5)
    host.send(Command.OKAY, 5, theirs)
    assert len(host.receive()[3]) == 4096


def test_a_hosts_close_is_answered_with_one_close(host: RawHost) -> None:
    host.connect()
    host.send(Command.OPEN, 5, 0, b"shell:sleep 100\0")
    _, theirs, _, _ = host.receive()
    host.send(Command.CLSE, 5, theirs)
    assert host.receive() == (b"CLSE", theirs, 5, b"")
    host.send(Command.OPEN, 6, 0, b"nothing:\0")
    assert host.receive() == (b"CLSE", 0, 6, b"")


def test_words_for_an_unknown_stream_are_ignored(host: RawHost) -> None:
    host.connect()
    for command in (Command.WRTE, Command.OKAY, Command.CLSE):
        host.send(command, 77, 99, b"x" if command is Command.WRTE else b"")
    host.send(Command.OPEN, 5, 0, b"nothing:\0")
    assert host.receive() == (b"CLSE", 0, 5, b"")


def test_a_stranger_cannot_write_to_a_stream_with_another_id(host: RawHost) -> None:
    host.connect()
    host.send(Command.OPEN, 5, 0, b"shell:cat\0")
    _, theirs, _, _ = host.receive()
    host.send(Command.WRTE, 6, theirs, b"x")
    host.send(Command.OPEN, 7, 0, b"nothing:\0")
    assert host.receive() == (b"CLSE", 0, 7, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack("<6I", Command.CNXN, VERSION, 1 << 20, 0, 0, 1),
        struct.pack("<6I", Command.CNXN, VERSION, 1 << 20, 1 << 31, 0, Command.CNXN ^ 0xFFFFFFFF),
        encode(Message(Command.OPEN, 1, 0, b"shell:id\0"), version=_CHECKED),
        encode(Message(Command.CNXN, 1, 1 << 20, b"host::"), version=_CHECKED),
        encode(Message(Command.CNXN, VERSION, 16, b"host::"), version=_CHECKED),
    ],
)
def test_a_wrong_start_is_hung_up_on(host: RawHost, data: bytes) -> None:
    host.socket.sendall(data)
    assert host.is_hung_up()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<6I", Command.WRTE, 1, 1, (1 << 20) + 1, 0, Command.WRTE ^ 0xFFFFFFFF),
        struct.pack("<6I", Command.WRTE, 1, 1, 0xFFFFFFFF, 0, Command.WRTE ^ 0xFFFFFFFF),
        struct.pack("<6I", Command.STLS, 1, 1, 0, 0, Command.STLS ^ 0xFFFFFFFF),
        encode(Message(Command.CNXN, VERSION, 1 << 20, b"host::"), version=_CHECKED),
        encode(Message(Command.OPEN, 0, 0, b"shell:id\0"), version=_CHECKED),
        bytes(24),
    ],
)
def test_a_wrong_message_is_hung_up_on(host: RawHost, data: bytes) -> None:
    host.connect()
    host.socket.sendall(data)
    assert host.is_hung_up()


def test_a_second_write_before_the_okay_is_hung_up_on(host: RawHost) -> None:
    host.connect()
    host.send(Command.OPEN, 5, 0, b"shell:sleep 100\0")
    _, theirs, _, _ = host.receive()
    # Enough that the bounded stdin of the sleeping command is full and okays stop.
    with pytest.raises((EOFError, ConnectionError, AssertionError)):
        for _ in range(20):
            host.send(Command.WRTE, 5, theirs, bytes(256 * 1024))
        while True:
            assert host.receive()[0] == b"OKAY"


@pytest.mark.parametrize(
    "request_bytes",
    [b"STAT" + struct.pack("<I", 1 << 30), b"EVIL" + struct.pack("<I", 1)],
)
def test_a_sync_request_that_is_too_long_or_unknown_ends_sync(
    host: RawHost, request_bytes: bytes
) -> None:
    host.connect()
    host.send(Command.OPEN, 5, 0, b"sync:\0")
    _, theirs, _, _ = host.receive()
    host.send(Command.WRTE, 5, theirs, request_bytes)
    assert host.receive()[0] == b"OKAY"
    assert host.receive()[3][:4] == b"FAIL"
    assert host.receive()[0] == b"CLSE"


def test_sync_layouts_are_the_documented_ones(host: RawHost) -> None:
    host.connect()
    host.send(Command.OPEN, 5, 0, b"sync:\0")
    _, theirs, _, _ = host.receive()

    def ask(request: bytes) -> bytes:
        host.send(Command.WRTE, 5, theirs, request)
        assert host.receive()[0] == b"OKAY"
        answer = host.receive()
        host.send(Command.OKAY, 5, theirs)
        return answer[3]

    def request(kind: bytes, path: bytes) -> bytes:
        return kind + struct.pack("<I", len(path)) + path

    assert len(ask(request(b"STAT", b"/sdcard"))) == 16
    found = struct.unpack("<4sIQQIIIIQqqq", ask(request(b"STA2", b"/proc/cpuinfo")))
    assert found[:2] == (b"STA2", 0) and found[4] == 0o100444
    missing = struct.unpack("<4sIQQIIIIQqqq", ask(request(b"LST2", b"/none")))
    assert missing[:2] == (b"LST2", 2) and missing[4] == 0
    assert ask(request(b"LIST", b"/none")) == b"DONE" + bytes(16)
    assert ask(request(b"LIS2", b"/none")) == b"DONE" + bytes(72)
    entries = ask(request(b"LIS2", b"/sys/class/power_supply"))
    assert entries[:4] == b"DNT2" and entries[76:83] == b"battery"
    # A data packet over 64 KiB in the middle of a file ends it.
    bad = request(b"SEND", b"/sdcard/x,33188") + b"DATA" + struct.pack("<I", 65537)
    assert ask(bad)[:4] == b"FAIL"
