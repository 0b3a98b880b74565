"""Faults of a virtual phone, over adb with the real gauge files: each has its verdict."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.device.energy import estimate as estimating
from mobilesplit.device.energy.estimate import EnergyEstimate
from mobilesplit.device.energy.meter import EnergyMeter
from mobilesplit.device.energy.sources import choose, denied, find_sources
from mobilesplit.emulator.fault_injection import set_faults
from mobilesplit.emulator.phones import PhoneRecord


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def metered(
    phone: PhoneRecord, device: Device, tmp_path: Path, source: str, seconds: float
) -> EnergyEstimate:
    """A baseline and a "load" in which the phone goes on idling."""
    chosen = choose(find_sources(device), source)
    assert chosen is not None
    again = lambda: connect(phone.serial, key_folder=tmp_path / "keys")  # noqa: E731
    with EnergyMeter(device, again, chosen, kind="modelled") as meter:
        meter.baseline(seconds)
        with meter.load() as load:
            time.sleep(seconds)
            load.add(10, seconds)
    return meter.estimate(load)


def test_charging(phone: PhoneRecord, device: Device, tmp_path: Path, state: Path) -> None:
    set_faults(phone.name, state, charging=True)
    found = metered(phone, device, tmp_path, "battery", 0.1)
    assert found.verdict == "charging" and "USB powered" in found.why
    # Saying that the cable is gone does not make it go.
    device.check_shell("dumpsys battery unplug")
    found = metered(phone, device, tmp_path, "battery", 0.1)
    assert found.verdict == "charging" and "dumpsys battery reset" in found.why


def test_denied(phone: PhoneRecord, device: Device, state: Path) -> None:
    set_faults(phone.name, state, denied_sysfs=True)
    found = find_sources(device)
    assert choose(found, "rails") is None
    assert "Permission denied" in denied(found, "modelled", "rails").why


def test_a_frozen_gauge(
    phone: PhoneRecord,
    device: Device,
    tmp_path: Path,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimating, "FROZEN_S", 1.0)  # the same rule without the wait
    set_faults(phone.name, state, frozen_gauge=True)
    assert metered(phone, device, tmp_path, "battery", 1.2).verdict == "frozen_gauge"


def test_too_few_readings(phone: PhoneRecord, device: Device, tmp_path: Path) -> None:
    found = metered(phone, device, tmp_path, "battery", 1.2)
    assert found.verdict == "too_few_readings" and "--load-s" in found.why


def test_rails_of_a_phone_that_did_nothing_show_no_response(
    phone: PhoneRecord, device: Device, tmp_path: Path, state: Path
) -> None:
    set_faults(phone.name, state, charging=True)  # which rails do not mind
    assert metered(phone, device, tmp_path, "rails", 1.5).verdict == "no_response"
