"""The virtual phone's modelled energy. Pure: the caller passes wall time and busy time in.

Rule: energy = idle power x wall time + active power per core x busy core time, and both inputs
only grow, so the counter never falls.
"""

from __future__ import annotations

from mobilesplit.emulator.device_description import Power


class PowerModel:
    """Cumulative energy of one phone since its start."""

    def __init__(self, power: Power) -> None:
        self._power = power
        self.wall_s = 0.0
        """Since the start; what the model was last brought up to."""
        self._busy_s = 0.0

    def update(self, *, wall_s: float, busy_s: float) -> None:
        """Bring it to ``wall_s`` since the start with ``busy_s`` of core time so far."""
        self.wall_s = max(self.wall_s, wall_s)
        self._busy_s = max(self._busy_s, busy_s)

    @property
    def cpu_j(self) -> float:
        """CPU rail: active energy and the CPU's share of idle."""
        active_j = self._power.active_w_per_core * self._busy_s
        return active_j + self._power.cpu_idle_w * self.wall_s

    @property
    def rest_j(self) -> float:
        """Everything else: display and board at idle."""
        return (self._power.idle_w - self._power.cpu_idle_w) * self.wall_s

    @property
    def total_j(self) -> float:
        """The whole phone."""
        return self.cpu_j + self.rest_j

    def energy_value(self) -> bytes:
        """``energy_value`` of a Pixel's ODPM: cumulative microwatt-seconds per rail."""
        now_ms = int(self.wall_s * 1000)
        rails = (("S1M_VDD_CPU", self.cpu_j), ("VSYS_PWR_DISPLAY", self.rest_j))
        lines = [f"t={now_ms}"]
        for channel, (rail, energy_j) in enumerate(rails):
            lines.append(f"CH{channel}(T={now_ms})[{rail}], {int(energy_j * 1e6)}")
        return "\n".join(lines).encode() + b"\n"
