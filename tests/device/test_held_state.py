"""What is set for a measurement is undone by its end, by a lost connection, by a later command."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.device.held_state import RESTORE_SCRIPTS, held_state, restore_leftovers
from mobilesplit.emulator.phones import PhoneRecord

STAY_ON = "settings get global stay_on_while_plugged_in"
LEFTOVER = RESTORE_SCRIPTS.replace("*", "0123")
SDK = 34


def scripts(device: Device) -> list[str]:
    listed = device.shell(f"ls {RESTORE_SCRIPTS}")
    return listed.text.split() if listed.exit_code == 0 else []


def leave(device: Device, *lines: str) -> None:
    """A restore script, as a session leaves it that never ended."""
    device.check_shell("mkdir -p /data/local/tmp/mobilesplit")
    for line in lines:
        device.check_shell(f"echo '{line}' >> {LEFTOVER}")


def test_the_setting_is_held_inside_and_as_it_was_outside(device: Device) -> None:
    device.check_shell("settings put global stay_on_while_plugged_in 3")
    with held_state(device, SDK) as held:
        assert device.check_shell(STAY_ON) == "7"
        assert held.refused == ()
        assert "cmd power set-fixed-performance-mode-enabled true" in held.set
    assert device.check_shell(STAY_ON) == "3"
    assert held.not_restored == []
    assert scripts(device) == []


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
    while scripts(device):
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


def test_a_guard_that_wakes_late_leaves_the_next_session_alone(
    phone: PhoneRecord, device: Device, tmp_path: Path
) -> None:
    device.check_shell("settings put global stay_on_while_plugged_in 1")
    lost = connect(phone.serial, key_folder=tmp_path / "keys")
    old = held_state(lost, SDK)
    old.__enter__()
    # The old session's connection is silent, but not yet known to be dead.
    with held_state(device, SDK) as held:
        (script,) = scripts(device)
        lost.close()
        # The old guard has had its turn when a shell that came after its end has had one.
        for _ in range(20):
            assert device.check_shell(STAY_ON) == "7"
        assert scripts(device) == [script]
        assert held.restore[0].endswith(" 1")
    assert device.check_shell(STAY_ON) == "1"


def test_what_no_guard_restored_the_next_command_does(device: Device) -> None:
    leave(device, "settings put global stay_on_while_plugged_in 2", f"rm -f {LEFTOVER}")
    said: list[str] = []
    assert restore_leftovers(device, progress=said.append) == []
    assert said == ["restoring what an earlier profile left set"]
    assert device.check_shell(STAY_ON) == "2"
    assert scripts(device) == []


def test_an_undo_that_fails_is_told_and_stays_for_the_next_command(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.check_shell("settings put global stay_on_while_plugged_in 1")
    from mobilesplit.device import held_state as module

    written = module._write_script
    monkeypatch.setattr(
        module,
        "_write_script",
        lambda device, script, undo: written(device, script, ["settings puts x", *undo]),
    )
    with held_state(device, SDK) as held:
        assert held.not_restored == []
    (told,) = held.not_restored
    assert "not restored: settings puts x;" in told
    # One that fails does not keep the others from being tried.
    assert device.check_shell(STAY_ON) == "1"
    assert len(scripts(device)) == 1
    assert restore_leftovers(device) == [told]


def test_a_leftover_that_cannot_be_restored_keeps_nobody_from_measuring(device: Device) -> None:
    leave(device, "false")
    with held_state(device, SDK) as held:
        assert device.check_shell(STAY_ON) == "7"
    assert held.not_restored == [f"{LEFTOVER} exited 1"]


def test_without_its_guard_nothing_is_set(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    before = device.check_shell(STAY_ON)
    opened = device.open_shell
    monkeypatch.setattr(device, "open_shell", lambda command: opened(f"trapp; {command[-3:]}"))
    with pytest.raises(DeviceError, match=r"guard .* did not start.*--no-hold-state"):
        held_state(device, SDK).__enter__()
    assert device.check_shell(STAY_ON) == before
