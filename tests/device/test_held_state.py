"""What is set for a measurement is undone by its end, by a lost connection, by a later command."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.device.held_state import RESTORE_SCRIPT, held_state, restore_leftover
from mobilesplit.emulator.phones import PhoneRecord

STAY_ON = "settings get global stay_on_while_plugged_in"
SDK = 34


def test_the_setting_is_held_inside_and_as_it_was_outside(device: Device) -> None:
    device.check_shell("settings put global stay_on_while_plugged_in 3")
    with held_state(device, SDK) as held:
        assert device.check_shell(STAY_ON) == "7"
        assert held.refused == ()
        assert "cmd power set-fixed-performance-mode-enabled true" in held.set
    assert device.check_shell(STAY_ON) == "3"
    assert device.shell(f"test -f {RESTORE_SCRIPT}").exit_code == 1


def test_a_setting_that_was_not_there_is_not_there_again(device: Device) -> None:
    device.check_shell("settings delete global stay_on_while_plugged_in")
    assert device.check_shell(STAY_ON) == "null"
    with pytest.raises(KeyboardInterrupt), held_state(device, SDK):
        raise KeyboardInterrupt
    assert device.check_shell(STAY_ON) == "null"


def test_before_android_11_the_clocks_are_left_alone(device: Device) -> None:
    with held_state(device, 29) as held:
        assert not any("performance" in command for command in held.set + held.refused)


def until_restored(device: Device, seconds: float = 10.0) -> str:
    """What the setting is once the restore script is gone."""
    deadline_s = time.monotonic() + seconds
    while device.shell(f"test -f {RESTORE_SCRIPT}").exit_code == 0:
        assert time.monotonic() < deadline_s, "nobody restored the device"
        time.sleep(0.05)
    return device.check_shell(STAY_ON)


def test_the_guard_restores_a_device_whose_host_is_gone(
    phone: PhoneRecord, device: Device, tmp_path: Path
) -> None:
    device.check_shell("settings put global stay_on_while_plugged_in 1")
    held = held_state(lost := connect(phone.serial, key_folder=tmp_path / "keys"), SDK)
    held.__enter__()
    assert device.check_shell(STAY_ON) == "7"
    lost.close()  # as a killed command or a pulled cable does: no goodbye
    assert until_restored(device) == "1"


def test_what_no_guard_restored_the_next_command_does(device: Device) -> None:
    device.check_shell("mkdir -p /data/local/tmp/mobilesplit")
    device.check_shell(
        f"echo 'settings put global stay_on_while_plugged_in 2' > {RESTORE_SCRIPT};"
        f" echo 'rm -f {RESTORE_SCRIPT}' >> {RESTORE_SCRIPT}"
    )
    said: list[str] = []
    assert restore_leftover(device, progress=said.append)
    assert said == ["restoring what an earlier profile left set"]
    assert device.check_shell(STAY_ON) == "2"
    assert not restore_leftover(device)
