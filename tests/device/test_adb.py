"""The client's side of adb against the virtual phone: commands, files, streams, and their ends."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mobilesplit.core.errors import DeviceError, DeviceGoneError
from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.device.push import push_file
from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import PhoneRecord, start_phone, stop_phone


def test_a_command_gives_exit_code_stdout_and_stderr_apart(device: Device) -> None:
    result = device.shell("echo out; no-such-command; exit 7")
    assert (result.exit_code, result.text) == (7, "out")
    assert "no-such-command" in result.stderr


def test_a_failing_command_is_an_error_with_serial_command_code_and_stderr(
    device: Device,
) -> None:
    with pytest.raises(DeviceError) as caught:
        device.check_shell("cat /data/local/tmp/nothing")
    text = str(caught.value)
    assert device.serial in text
    assert "`cat /data/local/tmp/nothing` exited 1" in text
    assert "No such file" in text
    assert caught.value.exit_code == 3


def test_a_command_that_never_ends_is_cut_off(device: Device) -> None:
    with pytest.raises(DeviceError, match=r"still running|no answer in time"):
        device.shell("sleep 30", timeout_s=0.3)
    assert device.shell("echo still here").text == "still here"


def test_files_come_back_as_they_went_and_are_not_sent_twice(
    device: Device, tmp_path: Path
) -> None:
    source = tmp_path / "blob"
    source.write_bytes(bytes(range(256)) * 10_000)
    target = "/data/local/tmp/blob"
    assert push_file(device, source, target, mode=0o644) == source.stat().st_size
    assert device.pull(target) == source.read_bytes()
    assert push_file(device, source, target, mode=0o644) == 0
    source.write_bytes(b"other")
    assert push_file(device, source, target, mode=0o644) == 5
    assert device.shell("ls /data/local/tmp").text.split() == ["blob"]


def test_a_missing_file_cannot_be_pulled(device: Device) -> None:
    with pytest.raises(DeviceError, match="pull /sdcard/nothing"):
        device.pull("/sdcard/nothing")


def test_the_key_is_made_once_and_for_nobody_elses_eyes(
    device: Device, phone: PhoneRecord, tmp_path: Path
) -> None:
    key = tmp_path / "keys" / "adbkey"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with connect(phone.serial, key_folder=tmp_path / "keys"):
        assert key.read_bytes() == before


def test_a_key_without_its_public_half_is_enough(phone: PhoneRecord, tmp_path: Path) -> None:
    connect(phone.serial, key_folder=tmp_path / "keys").close()
    (tmp_path / "keys" / "adbkey.pub").unlink()
    with connect(phone.serial, key_folder=tmp_path / "keys") as device:
        assert device.shell("true").exit_code == 0


def test_a_phone_that_leaves_is_device_gone(
    device: Device, phone: PhoneRecord, tmp_path: Path
) -> None:
    stream = device.open_shell("sleep 30")
    stop_phone(phone.name, tmp_path / "state")
    with pytest.raises(DeviceGoneError, match=r"was lost|without an exit code"):
        stream.read_some(10.0)
    with pytest.raises(DeviceError):
        device.shell("true")
    # What the fixture will stop.
    start_phone(
        load_description("flagship-2024"),
        name=phone.name,
        allowed_programs={},
        state_root=tmp_path / "state",
        exit_with_parent=True,
    )


def test_a_phone_that_does_not_accept_the_key_says_so(tmp_path: Path) -> None:
    record = start_phone(
        load_description("flagship-2024"),
        name="shy",
        allowed_programs={},
        auth="refuse",
        state_root=tmp_path / "state",
        exit_with_parent=True,
    )
    try:
        with pytest.raises(DeviceError, match="did not accept this computer's adb key"):
            connect(record.serial, timeout_s=0.5, key_folder=tmp_path / "keys")
    finally:
        stop_phone(record.name, tmp_path / "state")


@pytest.mark.parametrize("serial", ["127.0.0.1:1", "127.0.0.1:0", "127.0.0.1:port", ":"])
def test_an_address_without_a_device_is_one_line(serial: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as caught:
        connect(serial, timeout_s=2, key_folder=tmp_path / "keys")
    assert "\n" not in str(caught.value)
