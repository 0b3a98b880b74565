"""How hot the device is: Android's thermal status and the temperatures it lets us read.

Source of the format: AOSP ThermalManagerService.dump. Only what stands under "Current
temperatures from HAL" is of now; the cached ones may be minutes old.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from mobilesplit.device.device import Device

_STATUS = re.compile(r"^\s*Thermal Status:\s*(\d+)", re.MULTILINE)
_TEMPERATURE = re.compile(
    r"Temperature\{mValue=([-\d.]+), mType=(\d+), mName=([^,]*), mStatus=(\d+)"
)
_BATTERY = re.compile(r"^\s*temperature:\s*(-?\d+)", re.MULTILINE)
_TYPE_BATTERY, _TYPE_SKIN = 2, 3
_PLAUSIBLE_C = (-20.0, 120.0)
_POLL_S = 5.0
STATUS_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


@dataclass(frozen=True)
class Thermal:
    """One look at the device."""

    status: int | None
    """Android's thermal status, 0 for none to 6; None where the device does not say."""
    celsius: float | None
    """Skin temperature; the battery's where there is none; None where neither can be read."""
    source: str
    """Where ``celsius`` comes from, or why there is none."""

    @property
    def throttled(self) -> bool:
        """Whether Android says that it holds the device back."""
        return bool(self.status)

    def describe(self) -> str:
        """``thermal status 1 (light), 41.2 °C (skin)``."""
        status = "unknown"
        if self.status is not None:
            name = STATUS_NAMES[self.status] if self.status < len(STATUS_NAMES) else "?"
            status = f"{self.status} ({name})"
        heat = "no temperature" if self.celsius is None else f"{self.celsius:.1f} °C"
        return f"thermal status {status}, {heat} ({self.source})"

    def is_cool(self, limit_c: float) -> bool:
        """Whether measuring may begin; what is unknown holds nothing up."""
        return not self.throttled and (self.celsius is None or self.celsius <= limit_c)


def read_thermal(device: Device) -> Thermal:
    """Ask the thermal service; the battery's temperature where it has none to tell."""
    service = device.shell("dumpsys thermalservice")
    text = service.text if service.exit_code == 0 else ""
    found = _STATUS.search(text)
    status = int(found[1]) if found else None
    celsius = parse_temperature(text)
    if celsius is not None:
        return Thermal(status, *celsius)
    battery = _BATTERY.search(device.shell("dumpsys battery").text)
    if battery is not None and _is_plausible(int(battery[1]) / 10):
        return Thermal(status, int(battery[1]) / 10, "battery, dumpsys battery")
    return Thermal(status, None, "the device shows no temperature")


def parse_temperature(dump: str) -> tuple[float, str] | None:
    """Skin, else battery temperature in °C and its source, of ``dumpsys thermalservice``.

    Android 9 has no such service, and some HALs give nonsense: both are None.
    """
    _, _, current = dump.partition("Current temperatures from HAL:")
    current, _, _ = current.partition("Current cooling devices")
    readings: dict[int, list[float]] = {}
    for value, kind, _name, _status in _TEMPERATURE.findall(current):
        if _is_plausible(float(value)):
            readings.setdefault(int(kind), []).append(float(value))
    for kind, source in ((_TYPE_SKIN, "skin"), (_TYPE_BATTERY, "battery")):
        if kind in readings:
            return max(readings[kind]), source
    return None


def wait_until_cool(
    device: Device,
    limit_c: float,
    max_s: float,
    *,
    progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    now_s: Callable[[], float] = time.monotonic,
) -> Thermal:
    """The thermal gate: wait until the device is neither held back nor over ``limit_c``.

    Gives up after ``max_s``: whoever calls looks at what is returned.
    """
    deadline_s = now_s() + max_s
    while True:
        thermal = read_thermal(device)
        left_s = deadline_s - now_s()
        if thermal.is_cool(limit_c) or left_s <= 0:
            return thermal
        progress(f"cooling down, {left_s:.0f} s at most: {thermal.describe()}")
        sleep(min(_POLL_S, left_s))


def _is_plausible(celsius: float) -> bool:
    return _PLAUSIBLE_C[0] < celsius < _PLAUSIBLE_C[1]
