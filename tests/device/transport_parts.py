"""What the tests of the transports share: a virtual phone, and both ways to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import PhoneRecord, list_phones, start_phone, stop_phone
from tests.emulator.virtual_phone_parts import adb_for, free_port

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


@contextmanager
def adb_server(serials: list[str], home: Path, way: str = "server") -> Iterator[int | None]:
    """An adb server of its own that is connected to phones; its port. None by another way."""
    if way != "server":
        yield None
        return
    for adb in adb_for(serials[0], home):
        for serial in serials[1:]:
            adb("connect", serial)
        yield adb.server_port


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
