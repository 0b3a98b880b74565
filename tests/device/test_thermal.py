"""What the device says of its heat, and the gate that waits for it."""

from __future__ import annotations

import pytest

from mobilesplit.device import thermal
from mobilesplit.device.device import Device
from mobilesplit.device.thermal import Thermal, parse_temperature, read_thermal, wait_until_cool

PIXEL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=55.1, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{mValue=29.4, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=33.25, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
\tTemperature{mValue=34.5, mType=3, mName=VIRTUAL-SKIN-HINT, mStatus=0}
\tTemperature{mValue=41.0, mType=0, mName=BIG, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=99, mType=3, mName=fan}
"""


def test_the_warmest_skin_of_now_counts_and_no_cached_one() -> None:
    assert parse_temperature(PIXEL) == (34.5, "skin")


def test_without_skin_the_battery_counts() -> None:
    assert parse_temperature(PIXEL.replace("mType=3", "mType=9")) == (29.4, "battery")


@pytest.mark.parametrize("dump", ["", "Can't find service: thermalservice", "Thermal Status: 0"])
def test_a_device_that_tells_nothing_has_no_temperature(dump: str) -> None:
    assert parse_temperature(dump) is None


def test_nonsense_of_a_hal_is_no_temperature() -> None:
    assert parse_temperature(PIXEL.replace("34.5", "-274.0").replace("33.25", "25500.0")) == (
        29.4,
        "battery",
    )


def test_androids_own_override_is_seen(device: Device) -> None:
    assert read_thermal(device).status == 0
    device.check_shell("cmd thermalservice override-status 3")
    hot = read_thermal(device)
    assert (hot.status, hot.throttled, hot.is_cool(37.0)) == (3, True, False)
    assert "3 (severe)" in hot.describe()
    device.check_shell("cmd thermalservice reset")
    assert read_thermal(device).is_cool(37.0)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s

    def sleep(self, seconds: float) -> None:
        self.s += seconds


def test_the_gate_opens_once_the_device_is_cool(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([Thermal(2, 45.0, "skin"), Thermal(0, 39.0, "skin"), Thermal(0, 36.5, "skin")])
    monkeypatch.setattr(thermal, "read_thermal", lambda _: next(readings))
    clock, said = Clock(), []
    reached = wait_until_cool(
        device, 37.0, 60.0, progress=said.append, sleep=clock.sleep, now_s=clock
    )
    assert reached.celsius == 36.5
    assert clock.s == 10.0
    assert said[0] == "cooling down, 60 s at most: thermal status 2 (moderate), 45.0 °C (skin)"


def test_the_gate_gives_up_at_its_limit(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thermal, "read_thermal", lambda _: Thermal(0, 50.0, "skin"))
    clock = Clock()
    assert wait_until_cool(device, 37.0, 12.0, sleep=clock.sleep, now_s=clock).celsius == 50.0
    assert clock.s == 12.0
