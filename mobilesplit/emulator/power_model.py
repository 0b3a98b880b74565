"""The virtual phone's modelled energy. Pure: the caller passes wall time and busy time in.

Rule: energy = idle power x wall time + active power per core x busy core time, and both inputs
only grow, so the counter never falls.
"""

from __future__ import annotations

from dataclasses import dataclass

from mobilesplit.emulator.device_description import Battery, Power

_GAUGE_PERIOD_S = 0.25
"""The battery gauge averages over at least this long, as a real one refreshes slowly."""


@dataclass(frozen=True)
class BatteryReading:
    """What the battery's sysfs files show."""

    current_ua: int
    """Negative while discharging."""
    voltage_uv: int
    charge_uah: int
    capacity_percent: int


class PowerModel:
    """Cumulative energy of one phone since its start."""

    def __init__(self, power: Power, battery: Battery) -> None:
        self._power = power
        self._battery = battery
        self._wall_s = 0.0
        self._busy_s = 0.0
        self._gauge_at_s = 0.0
        self._gauge_at_j = 0.0
        self._gauge_w = power.idle_w

    def update(self, *, wall_s: float, busy_s: float) -> None:
        """Bring it to ``wall_s`` since the start with ``busy_s`` of core time so far."""
        self._wall_s = max(self._wall_s, wall_s)
        self._busy_s = max(self._busy_s, busy_s)
        passed_s = self._wall_s - self._gauge_at_s
        if passed_s >= _GAUGE_PERIOD_S:
            self._gauge_w = (self.total_j - self._gauge_at_j) / passed_s
            self._gauge_at_s, self._gauge_at_j = self._wall_s, self.total_j

    @property
    def cpu_j(self) -> float:
        """CPU rail: active energy and the CPU's share of idle."""
        active_j = self._power.active_w_per_core * self._busy_s
        return active_j + self._power.cpu_idle_w * self._wall_s

    @property
    def rest_j(self) -> float:
        """Everything else: display and board at idle."""
        return (self._power.idle_w - self._power.cpu_idle_w) * self._wall_s

    @property
    def total_j(self) -> float:
        """The whole phone."""
        return self.cpu_j + self.rest_j

    def energy_value(self) -> bytes:
        """``energy_value`` of a Pixel's ODPM: cumulative microwatt-seconds per rail."""
        now_ms = int(self._wall_s * 1000)
        rails = (("S1M_VDD_CPU", self.cpu_j), ("VSYS_PWR_DISPLAY", self.rest_j))
        lines = [f"t={now_ms}"]
        for channel, (rail, energy_j) in enumerate(rails):
            lines.append(f"CH{channel}(T={now_ms})[{rail}], {int(energy_j * 1e6)}")
        return "\n".join(lines).encode() + b"\n"

    def battery(self) -> BatteryReading:
        """The gauge, consistent with the energy so far."""
        full_uah = self._battery.capacity_mah * 1000
        used_uah = self.total_j / self._battery.voltage_v / 3600 * 1e6
        charge_uah = max(0.0, full_uah * self._battery.start_percent / 100 - used_uah)
        return BatteryReading(
            current_ua=-int(self._gauge_w / self._battery.voltage_v * 1e6),
            voltage_uv=int(self._battery.voltage_v * 1e6),
            charge_uah=int(charge_uah),
            capacity_percent=int(charge_uah / full_uah * 100),
        )
