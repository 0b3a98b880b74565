"""What the phone says about its battery: the gauge, a charger, `dumpsys battery`'s overrides.

Rule: an override reaches Android's battery service alone, as on a phone; sysfs and the gauge go on
telling the truth. Source: AOSP BatteryService.java (processValues, Shell, dumpInternal).
"""

from __future__ import annotations

from mobilesplit.emulator.device_description import DeviceDescription
from mobilesplit.emulator.gauge import Gauge, GaugeReading

CHARGER_W = 2.5
"""Declared: a USB port of 5 V and 0.5 A. A busy phone may draw more and go on discharging."""
TEMPERATURE_DECI_C = 270
"""Constant: the virtual phone has no thermal model."""
OVERRIDABLE = ("ac", "usb", "wireless", "status", "level", "temp", "present", "counter")
_PLUGS = OVERRIDABLE[:3]
_CHARGING, _DISCHARGING = 2, 3
"""BatteryManager.BATTERY_STATUS_*."""


class PhoneBattery:
    """The battery of one phone; ``seed`` is its gauge's."""

    def __init__(self, description: DeviceDescription, *, seed: int) -> None:
        self.gauge = Gauge(
            description.gauge,
            description.battery,
            seed=seed,
            power_before_w=description.power.idle_w,
        )
        self.charging = False
        """Whether a charger is connected, since the last ``read``."""
        self._charged_j = 0.0
        self._read_s = 0.0
        self._held: dict[str, int] | None = None

    def read(self, now_s: float, energy_j: float) -> GaugeReading:
        """The gauge; ``energy_j`` is what the phone has used so far."""
        if self.charging:
            self._charged_j += CHARGER_W * (now_s - self._read_s)
        self._read_s = now_s
        return self.gauge.read(now_s, energy_j - self._charged_j)

    @property
    def status_word(self) -> str:
        """``status`` in sysfs."""
        return "Charging" if self.charging else "Discharging"

    @property
    def is_held(self) -> bool:
        """Whether the battery service was told to stop its updates."""
        return self._held is not None

    def service_values(self, reading: GaugeReading) -> dict[str, int]:
        """What Android's battery service believes, by the names of ``OVERRIDABLE``."""
        if self._held is not None:
            return self._held
        return {
            "ac": 0,
            "usb": int(self.charging),
            "wireless": 0,
            "status": _CHARGING if self.charging else _DISCHARGING,
            "level": reading.capacity_percent,
            "temp": TEMPERATURE_DECI_C,
            "present": 1,
            "counter": reading.charge_uah,
        }

    def override(self, reading: GaugeReading, values: dict[str, int]) -> None:
        """``set``: the service stops its updates and believes this."""
        self._held = {**self.service_values(reading), **values}

    def unplug(self, reading: GaugeReading) -> None:
        """``unplug``: the service believes that no charger is connected."""
        self.override(reading, dict.fromkeys(_PLUGS, 0))

    def reset(self) -> None:
        """``reset``: the service listens to the gauge again."""
        self._held = None
