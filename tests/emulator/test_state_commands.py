"""Settings, power, thermal service and battery service, as Android's commands show and set them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import start_phone, stop_phone
from tests.emulator.virtual_phone_parts import Adb, adb_for


def test_settings_are_put_shown_listed_and_deleted(adb: Adb) -> None:
    assert adb.text("shell", "settings get global none_such") == "null\n"
    adb.text("shell", "settings put global some_key 'a b'")
    assert adb.text("shell", "settings get global some_key") == "a b\n"
    assert "some_key=a b\n" in adb.text("shell", "settings list global")
    assert adb.text("shell", "settings delete global some_key") == "Deleted 1 rows\n"
    assert adb.text("shell", "settings delete global some_key") == "Deleted 0 rows\n"


@pytest.mark.parametrize("line", ["settings get nowhere x", "settings", "svc power stayon maybe"])
def test_a_wrong_call_is_an_error(adb: Adb, line: str) -> None:
    assert adb("shell", line).returncode != 0


def test_stay_on_is_a_setting(adb: Adb) -> None:
    for word, shown in (("true", "7"), ("usb", "2"), ("false", "0")):
        adb.text("shell", f"svc power stayon {word}")
        assert adb.text("shell", "settings get global stay_on_while_plugged_in") == f"{shown}\n"


def test_the_screen_sleeps_and_wakes_by_keys(adb: Adb) -> None:
    adb.text("shell", "input keyevent KEYCODE_SLEEP")
    assert "mWakefulness=Asleep" in adb.text("shell", "dumpsys power")
    adb.text("shell", "input keyevent 224")
    assert "mWakefulness=Awake" in adb.text("shell", "dumpsys power")


def test_a_thermal_override_shows_until_it_is_reset(adb: Adb) -> None:
    assert "Thermal Status: 0\n" in adb.text("shell", "dumpsys thermalservice")
    adb.text("shell", "cmd thermalservice override-status 3")
    text = adb.text("shell", "dumpsys thermalservice")
    assert "IsStatusOverride: true\n" in text and "Thermal Status: 3\n" in text
    adb.text("shell", "cmd thermalservice reset")
    assert "IsStatusOverride: false\n" in adb.text("shell", "dumpsys thermalservice")
    assert adb("shell", "cmd thermalservice override-status 9").returncode != 0


def test_battery_overrides_are_the_services_alone(adb: Adb) -> None:
    assert "UPDATES STOPPED" not in adb.text("shell", "dumpsys battery")
    adb.text("shell", "dumpsys battery set usb 1")
    adb.text("shell", "cmd battery set level 5")
    text = adb.text("shell", "dumpsys battery")
    assert "USB powered: true" in text and "level: 5\n" in text and "UPDATES STOPPED" in text
    assert adb.text("shell", "cat /sys/class/power_supply/battery/capacity") != "5\n"
    adb.text("shell", "cmd battery unplug")
    assert adb.text("shell", "cmd battery get -f usb") == "false\n"
    adb.text("shell", "dumpsys battery reset")
    assert "level: 5\n" not in adb.text("shell", "dumpsys battery")
    assert adb("shell", "dumpsys battery set colour 1").returncode != 0


def test_battery_service_sysfs_and_cmd_tell_the_same(adb: Adb) -> None:
    text = adb.text("shell", "dumpsys battery")
    level = adb.text("shell", "cat /sys/class/power_supply/battery/capacity").strip()
    assert f"  level: {level}\n" in text and "  status: 3\n" in text
    assert adb.text("shell", "cat /sys/class/power_supply/battery/status") == "Discharging\n"
    # Microamperes and negative, by the description; within a factor of its 0.9 W at 3.85 V.
    assert -2_000_000 < int(adb.text("shell", "cmd battery get -f current_now")) < -150_000


def test_thermal_zones_are_named_and_in_millidegrees(adb: Adb) -> None:
    assert adb.text("shell", "cat /sys/class/thermal/thermal_zone*/type") == (
        "battery\nskin\ncpu-0-0-usr\n"
    )
    assert adb.text("shell", "cat /sys/class/thermal/thermal_zone0/temp") == "27000\n"


@pytest.fixture(scope="module")
def old_phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adb]:
    state = tmp_path_factory.mktemp("old")
    record = start_phone(
        load_description("budget-2017"),
        name="old",
        allowed_programs={},
        state_root=state,
        exit_with_parent=True,
    )
    yield from adb_for(record.serial, tmp_path_factory.mktemp("old_home"))
    stop_phone("old", state)


@pytest.mark.parametrize(
    ("line", "code", "complaint"),
    [
        ("cmd power set-fixed-performance-mode-enabled true", 255, b"Unknown command"),
        ("cmd thermalservice override-status 1", 20, b"Can't find service: thermalservice"),
        ("dumpsys thermalservice", 1, b"Can't find service: thermalservice"),
    ],
)
def test_android_7_has_neither_fixed_performance_nor_a_thermal_service(
    old_phone: Adb, adb: Adb, line: str, code: int, complaint: bytes
) -> None:
    done = old_phone("shell", line)
    assert done.returncode == code and complaint in done.stderr
    assert adb("shell", line).returncode == 0
    adb.text("shell", "cmd thermalservice reset")


def test_that_phones_gauge_shows_positive_milliamperes(old_phone: Adb) -> None:
    current = int(old_phone.text("shell", "cat /sys/class/power_supply/battery/current_now"))
    assert 100 < current < 1000  # 0.7 W at 3.8 V is 184 mA


def test_state_survives_a_connection(adb: Adb, tmp_path: Path) -> None:
    adb.text("shell", "settings put secure kept yes")
    adb("disconnect", adb.serial)
    adb("connect", adb.serial)
    assert adb.text("shell", "settings get secure kept") == "yes\n"
