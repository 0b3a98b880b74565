"""What the tests of the transports share: a virtual phone, and both ways to it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import adbutils

from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.device.transports.adb_server import AdbServer, start_server
from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import PhoneRecord, list_phones, start_phone, stop_phone
from tests.emulator.virtual_phone_parts import free_port

WAYS = ("tcp", "server")


@contextmanager
def running_phone(name: str, state: Path, **options: object) -> Iterator[PhoneRecord]:
    """A virtual phone that no program runs on."""
    record = start_phone(
        load_description("flagship-2024"),
        name=name,
        allowed_programs={},
        state_root=state,
        exit_with_parent=True,
        **options,  # type: ignore[arg-type]
    )
    try:
        yield record
    finally:
        if name in (phone.name for phone in list_phones(state)):  # a test may have stopped it
            stop_phone(name, state)


@functools.cache
def _shared_server() -> AdbServer:
    """Google's own, for all tests of this process: starting takes it three seconds."""
    home = tempfile.mkdtemp(prefix="adb-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    with server_at(None), patch.dict(os.environ, {"HOME": home, "ADB_MDNS": "0"}):
        server = start_server()
    client = adbutils.AdbClient(*server.address)
    atexit.register(client.server_kill)
    return server


@contextmanager
def adb_server(serials: list[str], way: str = "server") -> Iterator[int | None]:
    """An adb server that is connected to phones; its port. None by another way."""
    if way != "server":
        yield None
        return
    server = _shared_server()
    client = adbutils.AdbClient(*server.address)
    for serial in serials:
        client.connect(serial, timeout=10)
    try:
        yield server.address.port
    finally:
        for serial in serials:
            client.disconnect(serial)


@contextmanager
def server_at(port: int | None) -> Iterator[None]:
    """The environment says that an adb server is at ``port``; None: where there is none."""
    port = free_port() if port is None else port
    with patch.dict(os.environ, {"ADB_SERVER_SOCKET": f"tcp:127.0.0.1:{port}"}):
        yield


@contextmanager
def connected(way: str, serial: str, server_port: int | None, keys: Path) -> Iterator[Device]:
    """The device at ``serial``, reached by ``way``."""
    with (
        server_at(server_port if way == "server" else None),
        connect(serial, key_folder=keys) as device,
    ):
        assert device.transport == way
        yield device


@contextmanager
def no_adb_server() -> Iterator[int]:
    """The port of something that listens where an adb server should, and speaks HTTP."""

    def answer() -> None:
        with contextlib.suppress(OSError):  # until the listener is closed
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(ConnectionError):
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answerer = threading.Thread(target=answer)
        answerer.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for a client
            answerer.join()
