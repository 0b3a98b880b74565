"""What can be read on a virtual phone, on phones with other files, and why the rest cannot."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from mobilesplit.core.errors import DeviceError, DeviceGoneError, UnknownNameError
from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.device.energy import recording as recording_module
from mobilesplit.device.energy.readings import BatteryReading, RailReading
from mobilesplit.device.energy.recording import PollRecording
from mobilesplit.device.energy.sources import (
    Available,
    PolledSource,
    Unavailable,
    choose,
    denied,
    find_sources,
)
from mobilesplit.device.energy.tracing import PerfettoSource
from mobilesplit.emulator.fault_injection import set_faults
from mobilesplit.emulator.phones import PhoneRecord
from tests.device.energy.scripted_device import Answer, ScriptedDevice, failing

DENIED = failing(1, "cat: /sys/class/power_supply: Permission denied")
UPTIME = "10.00 20.00\n"
PERFETTO = PerfettoSource("battery current", on_battery=True, with_voltage=True)


def named(found: list[Available | Unavailable]) -> dict[str, Available | Unavailable]:
    return {entry.name: entry for entry in found}


def test_a_virtual_phone_offers_rails_battery_and_cmd_and_says_what_it_lacks(
    device: Device,
) -> None:
    found = named(find_sources(device))
    assert {name for name, entry in found.items() if isinstance(entry, Available)} == {
        "rails", "battery", "cmd",
    }  # fmt: skip
    perfetto, counter = found["perfetto"], found["`Charge counter` of dumpsys battery"]
    assert isinstance(perfetto, Unavailable) and "not found" in perfetto.why
    assert isinstance(counter, Unavailable) and "too coarse" in counter.why
    rails, battery, cmd = (
        choose(list(found.values()), name) for name in ("auto", "battery", "cmd")
    )
    assert isinstance(rails, PolledSource) and rails.detail == "S1M_VDD_CPU, VSYS_PWR_DISPLAY"
    assert isinstance(rails.read(device), RailReading) and not rails.on_battery
    for source in (battery, cmd):
        assert isinstance(source, PolledSource) and source.on_battery
        reading = source.read(device)
        assert isinstance(reading, BatteryReading) and reading.current_raw < 0
        assert reading.voltage_mv == pytest.approx(3870, abs=30)


def test_where_sysfs_is_denied_the_reason_is_the_devices_own(
    phone: PhoneRecord, device: Device, tmp_path: Path
) -> None:
    set_faults(phone.name, tmp_path / "state", denied_sysfs=True)
    found = find_sources(device)
    for name in ("rails", "battery"):
        entry = named(found)[name]
        assert isinstance(entry, Unavailable) and "Permission denied" in entry.why
    # Android's own command still answers: it does not go through the files.
    assert getattr(choose(found), "name", None) == "cmd"
    refusal = denied(found, "modelled", "battery")
    assert refusal.verdict == "denied" and "Permission denied" in refusal.why
    assert refusal.energy_mj is None and not refusal.energy_valid


def scripted(answers: dict[str, Answer]) -> list[Available | Unavailable]:
    silent: dict[str, Answer] = {
        "ls /sys/bus/iio/devices": "",
        "dumpsys battery": "",
        "rm -f": failing(127, "perfetto: not found"),
        "cat /proc/uptime": DENIED,
        "cmd battery": failing(20, "cmd: Can't find service: battery"),
    }
    return find_sources(ScriptedDevice({**silent, **answers}).as_device())


def test_mediateks_names_are_known() -> None:
    folder = "/sys/class/power_supply/battery"
    answer = f"{UPTIME}512\n4127\n"
    ask = f"cat /proc/uptime {folder}/BatteryAverageCurrent {folder}/batt_vol"
    source = choose(scripted({ask: answer}))
    assert isinstance(source, PolledSource) and source.command == ask


def test_a_phone_with_nothing_to_read_is_denied_with_every_reason() -> None:
    found = scripted({})
    assert choose(found) is None
    refusal = denied(found, "measured")
    assert "rails: the device has no power rails" in refusal.why
    assert "cmd: cmd: Can't find service: battery" in refusal.why


def test_perfettos_battery_counters_come_last_and_its_rails_before_the_battery() -> None:
    polled = PolledSource("battery", "", True, "cat", lambda _: None, 1.0)
    rails = PerfettoSource("CPU", on_battery=False, with_voltage=True)
    assert choose([Available(PERFETTO), Available(polled)]) is polled
    assert choose([Available(PERFETTO)]) is PERFETTO
    assert choose([Available(rails), Available(polled)]) is rails


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="auto, battery, cmd, perfetto, rails"):
        choose([], "tea leaves")


def test_a_recording_polls_beside_the_main_connection(
    phone: PhoneRecord, device: Device, tmp_path: Path
) -> None:
    source = choose(find_sources(device), "rails")
    assert source is not None
    again = lambda: connect(phone.serial, key_folder=tmp_path / "keys")  # noqa: E731
    recording = source.record(again, longest_s=60)
    recording.start()
    while len(recording.readings()) < 4:
        assert device.check_shell("echo still here") == "still here"
    recording.stop()
    times = [reading.time_s for reading in recording.readings()]
    assert times == sorted(times)


def until_it_raises(recording: PollRecording) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        recording.readings()


def test_a_lost_connection_of_a_recording_is_told_by_its_readings() -> None:
    def fail(_: Device) -> None:
        raise DeviceError("the connection to the device was lost.")

    recording = PollRecording(ScriptedDevice({}).as_device, fail, every_s=0.0)
    recording.start()
    with pytest.raises(DeviceError, match="lost"):
        until_it_raises(recording)
    recording.stop()


def test_a_poll_that_hangs_does_not_hold_up_the_end_and_what_came_before_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recording_module, "_END_S", 0.01)
    hung, let_go = threading.Event(), threading.Event()
    first = RailReading(1.0, 1.0, {"CPU": 1})
    given = iter([first])

    def read(_: Device) -> RailReading | None:
        if (reading := next(given, None)) is None:
            hung.set()
            let_go.wait()
        return reading

    recording = PollRecording(ScriptedDevice({}).as_device, read, every_s=0.0)
    recording.start()
    assert hung.wait(10)
    recording.stop()
    assert recording.readings() == [first]
    let_go.set()


def test_a_thread_that_fails_in_an_unforeseen_way_does_not_end_in_silence() -> None:
    def fail(_: Device) -> None:
        raise ZeroDivisionError("nobody thought of it")

    recording = PollRecording(ScriptedDevice({}).as_device, fail, every_s=0.0)
    recording.start()
    with pytest.raises(DeviceError, match="ZeroDivisionError: nobody thought of it"):
        until_it_raises(recording)
    recording.stop()


def test_a_gauge_that_falls_silent_ends_its_recording() -> None:
    recording = PollRecording(ScriptedDevice({}).as_device, lambda _: None, every_s=0.0)
    recording.start()
    with pytest.raises(DeviceError, match="no more readings") as raised:
        until_it_raises(recording)
    # The device is still there: a lost connection would end the whole profile.
    assert not isinstance(raised.value, DeviceGoneError)
    recording.stop()
