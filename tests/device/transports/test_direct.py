"""What was told as failed does not happen later."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from adb_shell import constants
from adb_shell.adb_device import AdbDevice
from adb_shell.adb_message import AdbMessage, unpack

from mobilesplit.core.errors import DeviceTimeoutError
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.transports.direct import DirectTransport
from mobilesplit.device.transports.tcp_link import TcpLink

SOON = 0.05
Said = tuple[bytes, int, int, bytes]


@pytest.fixture
def ends() -> Iterator[tuple[DirectTransport, socket.socket]]:
    """A transport, and the device's end of it; the greeting is left out."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = TcpLink("127.0.0.1", listener.getsockname()[1], Deadline(10))
        link.connect(None)
        device, _ = listener.accept()
        with device:
            device.settimeout(10)
            yield DirectTransport("test", "tcp", link, AdbDevice(link)), device
        link.close()


def say(device: socket.socket, command: bytes, arg0: int, arg1: int, data: bytes = b"") -> None:
    message = AdbMessage(command, arg0, arg1, data)
    device.sendall(message.pack() + data)


def hear(device: socket.socket) -> Said:
    header = device.recv(constants.MESSAGE_SIZE, socket.MSG_WAITALL)
    command, arg0, arg1, nbytes, _ = unpack(header)
    data = device.recv(nbytes, socket.MSG_WAITALL) if nbytes else b""
    return constants.WIRE_TO_ID[command], arg0, arg1, data


def test_a_service_of_which_nothing_was_asked_in_time_is_never_asked_for(
    ends: tuple[DirectTransport, socket.socket],
) -> None:
    transport, device = ends
    with pytest.raises(DeviceTimeoutError):
        transport.open_service("shell:late", Deadline(0))
    with pytest.raises(DeviceTimeoutError):
        transport.open_service("shell:next", Deadline(SOON))
    assert hear(device) == (constants.OPEN, 2, 0, b"shell:next\0")


def test_a_service_that_opens_too_late_is_closed(
    ends: tuple[DirectTransport, socket.socket],
) -> None:
    transport, device = ends
    with pytest.raises(DeviceTimeoutError):
        transport.open_service("shell:late", Deadline(SOON))
    assert hear(device) == (constants.OPEN, 1, 0, b"shell:late\0")
    say(device, constants.OKAY, 71, 1)
    say(device, constants.OKAY, 72, 2)
    say(device, constants.WRTE, 72, 2, b"hello")
    channel = transport.open_service("shell:next", Deadline(10))
    assert channel.receive(Deadline(10)) == b"hello"
    assert hear(device) == (constants.OPEN, 2, 0, b"shell:next\0")
    assert hear(device) == (constants.CLSE, 1, 71, b"")
    assert hear(device) == (constants.OKAY, 2, 72, b"")
