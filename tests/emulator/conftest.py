"""Real daemons on free ports, the real adb binary with a server of its own, nothing mocked."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner

from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import start_phone, stop_phone
from tests.emulator.virtual_phone_parts import RUNNER_BYTES, STAND_IN, Adb, Phone, adb_for


@pytest.fixture(scope="session")
def allowed_programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    script = tmp_path_factory.mktemp("host") / "stand_in.py"
    script.write_text(STAND_IN)
    return {hashlib.sha256(RUNNER_BYTES).hexdigest(): [sys.executable, "-S", "-E", str(script)]}


@pytest.fixture(scope="module")
def phone(
    tmp_path_factory: pytest.TempPathFactory, allowed_programs: dict[str, list[str]]
) -> Iterator[Phone]:
    phones = tmp_path_factory.mktemp("phones")
    record = start_phone(
        load_description("midrange-2021"),
        name="tested",
        allowed_programs=allowed_programs,
        state_root=phones,
        exit_with_parent=True,
    )
    yield Phone(record, phones)
    stop_phone("tested", phones)


@pytest.fixture(scope="module")
def adb(phone: Phone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adb]:
    yield from adb_for(phone.record.serial, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> PythonRSASigner:
    key = tmp_path_factory.mktemp("keys") / "adbkey"
    keygen(str(key))
    return PythonRSASigner.FromRSAKeyPath(str(key))


@pytest.fixture
def adb_shell_device(phone: Phone, signer: PythonRSASigner) -> Iterator[AdbDeviceTcp]:
    device = AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=10)
    device.connect(rsa_keys=[signer], auth_timeout_s=5)
    yield device
    device.close()
