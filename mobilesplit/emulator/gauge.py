"""The virtual phone's battery gauge. Pure: the caller passes the time and the energy in.

Rule: what it shows depends on the true energy, the seed and the time alone, never on how often it
is read: it refreshes once a period, and every refresh has its own noise.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from dataclasses import dataclass

from mobilesplit.emulator.device_description import Battery, GaugeSettings


@dataclass(frozen=True)
class GaugeReading:
    """What the battery's sysfs files show until the next refresh."""

    current_raw: int
    """In the gauge's own unit and with its own sign."""
    voltage_uv: int
    charge_uah: int
    capacity_percent: int
    refreshed_s: float
    """When the gauge made it; a phone does not tell this."""


class Gauge:
    """One phone's gauge; ``seed`` fixes its noise and when within a period it refreshes.

    ``power_before_w`` is what the phone drew before the first ``read``.
    """

    def __init__(
        self, settings: GaugeSettings, battery: Battery, *, seed: int, power_before_w: float = 0.0
    ) -> None:
        self._settings = settings
        self._battery = battery
        self._seed = seed
        self._power_before_w = power_before_w
        self._phase_s = random.Random(f"{seed}:phase").random() * settings.period_s  # noqa: S311
        self._times_s: list[float] = []
        self._energies_j: list[float] = []
        self._reading: GaugeReading | None = None
        self.frozen = False
        """While true, it shows its last reading; what it missed is not made up for."""

    def read(self, now_s: float, energy_j: float) -> GaugeReading:
        """The last refresh up to ``now_s``; ``energy_j`` has left the battery so far.

        The time may not run backwards. The energy may fall: the battery is then charged.
        Between two reads the power counts as constant.
        """
        if not self._times_s or now_s > self._times_s[-1]:
            self._times_s.append(now_s)
            self._energies_j.append(energy_j)
        if self.frozen and self._reading is not None:
            return self._reading
        number = math.floor((now_s - self._phase_s) / self._settings.period_s)
        refresh_s = self._phase_s + number * self._settings.period_s
        if self._reading is None or refresh_s > self._reading.refreshed_s:
            self._reading = self._refresh(number, refresh_s)
            self._forget_before(refresh_s - self._settings.window_s)
        return self._reading

    def _refresh(self, number: int, refresh_s: float) -> GaugeReading:
        settings, battery = self._settings, self._battery
        noise = random.Random(f"{self._seed}:{number}")  # noqa: S311
        window_j = self._energy_at(refresh_s) - self._energy_at(refresh_s - settings.window_s)
        current_ma = window_j / settings.window_s / battery.voltage_v * 1e3
        current_ma += noise.gauss(0.0, settings.noise_ma)
        current_ma = round(current_ma / settings.step_ma) * settings.step_ma
        per_ma = 1000 if settings.unit == "uA" else 1
        voltage_mv = round(battery.voltage_v * 1e3 + noise.gauss(0.0, settings.voltage_noise_mv))
        full_uah = battery.capacity_mah * 1000
        used_uah = self._energy_at(refresh_s) / battery.voltage_v / 3600 * 1e6
        charge_uah = full_uah * battery.start_percent / 100 - used_uah
        charge_uah = min(full_uah, max(0.0, charge_uah))
        return GaugeReading(
            current_raw=round(settings.discharge_sign * current_ma * per_ma),
            voltage_uv=voltage_mv * 1000,
            charge_uah=int(charge_uah // settings.charge_step_uah * settings.charge_step_uah),
            capacity_percent=int(charge_uah / full_uah * 100),
            refreshed_s=refresh_s,
        )

    def _energy_at(self, time_s: float) -> float:
        """Between the reads that came, and before the first at the power of before."""
        after = bisect_right(self._times_s, time_s)
        if after == 0:
            return self._energies_j[0] - self._power_before_w * (self._times_s[0] - time_s)
        if after == len(self._times_s):
            return self._energies_j[-1]
        start_s, end_s = self._times_s[after - 1 : after + 1]
        start_j, end_j = self._energies_j[after - 1 : after + 1]
        return start_j + (end_j - start_j) * (time_s - start_s) / (end_s - start_s)

    def _forget_before(self, time_s: float) -> None:
        """Drop the reads that no later refresh can need; the last one before stays."""
        unneeded = max(0, bisect_right(self._times_s, time_s) - 1)
        del self._times_s[:unneeded], self._energies_j[:unneeded]
