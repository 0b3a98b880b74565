"""perfetto as a source, on a scripted device: the virtual phone has no perfetto."""

from __future__ import annotations

import pytest

from mobilesplit.core.errors import DeviceError, DeviceGoneError
from mobilesplit.device.device import ShellResult
from mobilesplit.device.energy.readings import BatteryReading, RailReading
from mobilesplit.device.energy.tracing import PerfettoSource, find_perfetto
from tests.device.energy.scripted_device import Answer, ScriptedDevice, failing
from tests.device.energy.test_perfetto import BATTERY, RAILS

TRACE = "/data/misc/perfetto-traces/mobilesplit-energy.pftrace"


STOP = f"kill -INT 4711 2>/dev/null; rm -f {TRACE}"


def phone(trace: bytes, start: Answer = "4711\n") -> ScriptedDevice:
    return ScriptedDevice(
        {
            "dumpsys battery": "  voltage: 4000\n",
            f"rm -f {TRACE}; echo ": start,
            f"rm -f {TRACE}": "",
            "kill -INT 4711": "",
            "kill -0 4711": failing(1, "kill: 4711: No such process"),
        },
        {TRACE: trace},
    )


def test_rails_by_way_of_perfetto_are_found_by_a_trial() -> None:
    device = phone(RAILS)
    assert find_perfetto(device.as_device(), trial_s=0) == PerfettoSource(
        "CPU, DISP", on_battery=False, with_voltage=True
    )
    assert device.said[-1] == STOP


def test_an_old_version_that_refuses_the_voltage_counter_is_asked_without() -> None:
    def start(command: str) -> str | ShellResult:
        return failing(1, "BATTERY_COUNTER_VOLTAGE?") if "COUNTER_VOLTAGE" in command else "4711\n"

    found = find_perfetto(phone(BATTERY, start).as_device(), trial_s=0)
    assert found == PerfettoSource("battery current", on_battery=True, with_voltage=False)


@pytest.mark.parametrize(
    ("trace", "start", "said"),
    [
        (RAILS, failing(127, "/system/bin/sh: perfetto: not found"), "perfetto: not found"),
        (RAILS, "", "did not say which process"),
        (RAILS[:40], "4711\n", "cannot be read"),
        (b"", "4711\n", "neither power rails nor"),
    ],
)
def test_why_there_is_none_is_told(trace: bytes, start: Answer, said: str) -> None:
    found = find_perfetto(phone(trace, start).as_device(), trial_s=0)
    assert isinstance(found, str) and said in found


def test_a_trial_that_is_broken_off_leaves_no_trace_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mobilesplit.device.energy.tracing.time.sleep", interrupt)
    device = phone(RAILS)
    with pytest.raises(KeyboardInterrupt):
        find_perfetto(device.as_device())
    assert device.said[-1] == STOP


def test_a_trace_ends_by_itself_when_it_must_be_over() -> None:
    device = phone(RAILS)
    find_perfetto(device.as_device(), trial_s=0)
    source = PerfettoSource("", on_battery=False, with_voltage=True)
    source.record(device.as_device, longest_s=90.5).start()
    trial, recorded = (said for said in device.said if "duration_ms" in said)
    assert "duration_ms: 5000\n" in trial and "duration_ms: 90500\n" in recorded


def test_a_lost_connection_is_not_taken_for_a_device_without_perfetto() -> None:
    def gone(_: str) -> str:
        raise DeviceGoneError("gone.")

    with pytest.raises(DeviceGoneError):
        find_perfetto(phone(RAILS, gone).as_device(), trial_s=0)


def test_a_recording_has_its_readings_at_its_end_and_closes_its_connection() -> None:
    device = phone(BATTERY)
    source = PerfettoSource("battery current", on_battery=True, with_voltage=False)
    recording = source.record(device.as_device, longest_s=60)
    recording.start()
    assert not recording.live and recording.readings() == []
    recording.stop()
    recording.stop()
    # Where the trace is silent, the voltage is the one that dumpsys knew at the start.
    assert recording.readings()[0] == BatteryReading(5.0, -431250, 4000.0)
    assert device.closed


def test_a_trace_that_is_none_is_a_device_error_at_the_end() -> None:
    device = phone(b"\x0b")
    recording = PerfettoSource("", on_battery=False, with_voltage=True).record(
        device.as_device, longest_s=60
    )
    recording.start()
    with pytest.raises(DeviceError, match="cannot be read"):
        recording.stop()


def test_rails_in_a_trace_are_rail_readings() -> None:
    device = phone(RAILS)
    recording = PerfettoSource("", on_battery=False, with_voltage=True).record(
        device.as_device, longest_s=60
    )
    recording.start()
    recording.stop()
    assert all(isinstance(reading, RailReading) for reading in recording.readings())
