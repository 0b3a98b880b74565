"""A virtual phone for the tests of the client's side of adb; its one program is a stand-in."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import PhoneRecord, start_phone, stop_phone
from tests.device.transport_parts import server_at

STAND_IN = Path(__file__).parent / "stand_in_runner.py"


@pytest.fixture(autouse=True)
def _no_adb_server() -> Iterator[None]:
    """Whatever adb server runs on this machine is none of ours."""
    with server_at(None):
        yield


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[PhoneRecord]:
    digest = hashlib.sha256(STAND_IN.read_bytes()).hexdigest()
    record = start_phone(
        load_description("flagship-2024"),
        name="device-tests",
        allowed_programs={digest: [sys.executable, str(STAND_IN)]},
        state_root=tmp_path / "state",
        exit_with_parent=True,
    )
    yield record
    stop_phone(record.name, tmp_path / "state")


@pytest.fixture
def device(phone: PhoneRecord, tmp_path: Path) -> Iterator[Device]:
    with connect(phone.serial, key_folder=tmp_path / "keys") as connected:
        yield connected
