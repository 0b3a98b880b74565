"""From a serial to a device: which way is taken, with which keys, and why there is none."""

from __future__ import annotations

import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mobilesplit.core.errors import (
    DeviceError,
    DeviceGoneError,
    InputFileError,
    UsageError,
    UsbUnusableError,
)
from mobilesplit.device.adb_keys import load_signers
from mobilesplit.device.connect import connect, unusable
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.device import Device
from mobilesplit.device.listing import find_devices
from mobilesplit.device.transports.adb_server import (
    AdbServer,
    Address,
    Listed,
    server_address,
    start_server,
)
from mobilesplit.device.transports.usb import find_usb_links
from mobilesplit.emulator.fault_injection import set_faults
from mobilesplit.emulator.phones import PhoneRecord
from tests.device.transport_parts import adb_server, no_adb_server, running_phone, server_at
from tests.emulator.virtual_phone_parts import free_port


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ("127.0.0.1", 5037)),
        ({"ANDROID_ADB_SERVER_PORT": "6000"}, ("127.0.0.1", 6000)),
        ({"ANDROID_ADB_SERVER_ADDRESS": "box"}, ("box", 5037)),
        ({"ADB_SERVER_SOCKET": "tcp:7000", "ANDROID_ADB_SERVER_PORT": "6"}, ("127.0.0.1", 7000)),
        ({"ADB_SERVER_SOCKET": "tcp:box:7000"}, ("box", 7000)),
    ],
)
def test_the_adb_server_is_where_adbs_variables_say(
    environment: dict[str, str], address: tuple[str, int]
) -> None:
    assert server_address(environment) == Address(*address)


@pytest.mark.parametrize(
    "environment",
    [
        {"ANDROID_ADB_SERVER_PORT": "here"},
        {"ANDROID_ADB_SERVER_PORT": "65536"},
        {"ADB_SERVER_SOCKET": "localfilesystem:/x"},
    ],
)
def test_a_variable_that_names_no_server_is_a_usage_error(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(environment))):
        server_address(environment)


@pytest.mark.parametrize("serial", ["127.0.0.1:1", "127.0.0.1:0", "127.0.0.1:port", ":"])
def test_an_address_without_a_device_is_one_line(serial: str, tmp_path: Path) -> None:
    with server_at(None), pytest.raises(DeviceError) as caught:
        connect(serial, timeout_s=2, key_folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_the_key_is_made_once_and_for_nobody_elses_eyes(phone: PhoneRecord, tmp_path: Path) -> None:
    key = tmp_path / "made" / "adbkey"
    connect(phone.serial, key_folder=key.parent).close()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    connect(phone.serial, key_folder=key.parent).close()
    assert key.read_bytes() == before


def test_a_key_that_others_may_read_is_closed_to_them_with_a_word(
    phone: PhoneRecord, device: Device, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "keys" / "adbkey"
    key.chmod(0o644)
    connect(phone.serial, key_folder=key.parent).close()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "was readable by others" in caplog.text


def test_a_key_without_its_public_half_is_enough(
    phone: PhoneRecord, device: Device, tmp_path: Path
) -> None:
    (tmp_path / "keys" / "adbkey.pub").unlink()
    with connect(phone.serial, key_folder=tmp_path / "keys") as second:
        assert second.shell("true").exit_code == 0


def test_a_vendor_key_that_is_missing_is_named(
    phone: PhoneRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADB_VENDOR_KEYS", str(tmp_path / "nothing"))
    with pytest.raises(InputFileError, match=r"nothing: adb's key cannot be used"):
        connect(phone.serial, key_folder=tmp_path / "keys")


@pytest.mark.parametrize("public_half", [True, False])
def test_a_key_that_cannot_be_parsed_is_named_with_what_to_do(
    public_half: bool, tmp_path: Path
) -> None:
    load_signers(tmp_path)
    key = tmp_path / "adbkey"
    text = key.read_text()
    key.write_text(text[:400] + text[500:])
    if not public_half:
        (tmp_path / "adbkey.pub").unlink()
    with pytest.raises(InputFileError, match=r"adbkey: .* cannot be parsed .*Move it away"):
        load_signers(tmp_path)


def test_a_phone_that_does_not_accept_the_key_is_unauthorized_directly_and_in_a_server(
    tmp_path: Path,
) -> None:
    with running_phone("shy", tmp_path / "state", auth="refuse") as shy:
        with server_at(None), pytest.raises(DeviceError, match="unauthorized") as direct:
            connect(shy.serial, timeout_s=0.5, key_folder=tmp_path / "keys")
        assert direct.value.cause == "unauthorized"
        with adb_server([shy.serial]) as port, server_at(port):
            server = AdbServer.running()
            assert server is not None
            assert server.devices() == [Listed(shy.serial, "unauthorized")]
            with pytest.raises(DeviceError, match="unauthorized") as behind:
                server.open(shy.serial, "sync:", Deadline(5))
            assert behind.value.cause == "unauthorized"


@pytest.mark.parametrize(
    ("state", "says"), [("offline", "adb reconnect"), ("unauthorized", "Unlock the phone")]
)
def test_a_device_that_a_server_shows_as_unusable_says_how_to_mend_it(
    state: str, says: str
) -> None:
    error = unusable(Listed("R58M", state))
    assert error.cause == state
    assert str(error).startswith(f"R58M: the adb server shows it as {state}.") and says in str(
        error
    )


def test_a_phone_that_is_offline_is_listed_so_and_says_how_to_mend_it(
    phone: PhoneRecord, tmp_path: Path
) -> None:
    with adb_server([phone.serial]) as port, server_at(port):
        server = AdbServer.running()
        assert server is not None
        set_faults(phone.name, tmp_path / "state", disconnect_after_ms=0, refuse_s=60)
        while (state := server.devices()[0].state) == "device":  # until the server has noticed
            time.sleep(0.01)
        assert state == "offline"
        (found,) = find_devices([], server)
        assert (found.state, found.usable) == ("offline", False)
        assert "adb reconnect" in found.mend
        with pytest.raises(DeviceError) as caught:
            connect(phone.serial, timeout_s=2, key_folder=tmp_path / "keys")
        assert caught.value.cause == "offline"


def test_a_serial_that_a_server_does_not_know_lists_those_it_knows(
    phone: PhoneRecord, tmp_path: Path
) -> None:
    with adb_server([phone.serial]) as port, server_at(port):
        with pytest.raises(DeviceError, match=rf"knows: {phone.serial} \(device\)") as caught:
            connect("R58M", key_folder=tmp_path)
        assert caught.value.cause == "not_found"
        with connect(phone.serial, key_folder=tmp_path) as device:
            assert device.transport == "server"


def test_what_listens_but_is_no_adb_server_is_told() -> None:
    with (
        no_adb_server() as port,
        server_at(port),
        pytest.raises(DeviceError, match="is no adb server"),
    ):
        connect("R58M")


def test_an_address_needs_no_adb_server_whatever_listens_there(
    phone: PhoneRecord, tmp_path: Path
) -> None:
    with (
        no_adb_server() as port,
        server_at(port),
        connect(phone.serial, key_folder=tmp_path) as device,
    ):
        assert device.transport == "tcp"


def test_a_server_is_started_only_for_a_serial_that_nothing_else_reaches(
    phone: PhoneRecord, tmp_path: Path
) -> None:
    started: list[str] = []

    def start() -> AdbServer:
        started.append("adb")
        raise DeviceError("no adb server could be started (test).")

    with server_at(None):
        connect(phone.serial, key_folder=tmp_path, start=start).close()
        assert started == []
        with pytest.raises(DeviceError, match="no adb server could be started"):
            connect("R58M", key_folder=tmp_path, start=start)
    assert started == ["adb"]


def test_a_server_that_has_ended_is_gone_and_not_started_again() -> None:
    ended = AdbServer(Address("127.0.0.1", free_port()))
    with pytest.raises(DeviceGoneError, match="Connection refused"):
        ended.open("R58M", "sync:", Deadline(5))
    with server_at(ended.address.port):
        assert AdbServer.running() is None


def test_threads_that_need_a_new_key_at_once_share_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        signers = [pool.submit(load_signers, tmp_path / "new") for _ in range(4)]
        assert len({signer.result()[0].GetPublicKey() for signer in signers}) == 1


def test_a_server_of_another_machine_is_not_started_from_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", "tcp:192.0.2.1:5037")
    with pytest.raises(DeviceError, match="cannot be started from here"):
        start_server()


def test_without_libusb_phones_on_a_cable_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usb1", None)
    monkeypatch.delitem(sys.modules, "mobilesplit.device.transports.usb_link", raising=False)
    with pytest.raises(UsbUnusableError, match=r'pip install "mobilesplit\[usb\]"'):
        find_usb_links(Deadline(1))
