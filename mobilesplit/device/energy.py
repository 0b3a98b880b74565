"""Energy from the cumulative power rails (ODPM) under /sys/bus/iio, where they can be read.

The rails count micro-watt-seconds from boot and do not care whether a cable charges the battery
(Pixel 6 and newer; the virtual phone drives the same files from its power model).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mobilesplit.core.errors import DeviceGoneError
from mobilesplit.device.device import Device

_COMMAND = "cat /sys/bus/iio/devices/iio:device0/energy_value"
_RAIL = re.compile(r"^CH\d+\(T=(\d+)\)\[([\w.-]+)\],\s*(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class RailReading:
    """All rails at one moment."""

    time_ms: int
    """The device's own clock, ms since boot."""
    energy_uws: dict[str, int]
    """Cumulative energy by rail, µWs."""

    @property
    def total_mj(self) -> float:
        """Sum of the rails in mJ."""
        return sum(self.energy_uws.values()) / 1e3


def parse_rails(text: str) -> RailReading | None:
    """The content of ``energy_value``; None when it holds no rail."""
    found = _RAIL.findall(text)
    if not found:
        return None
    return RailReading(
        time_ms=max(int(time) for time, _, _ in found),
        energy_uws={name: int(energy) for _, name, energy in found},
    )


def read_rails(device: Device) -> RailReading | None:
    """One reading, or None where the device has no rails or does not show them."""
    result = device.shell(_COMMAND)
    return parse_rails(result.text) if result.exit_code == 0 else None


def power_mw(before: RailReading, after: RailReading) -> float:
    """Mean power between two readings. Raises DeviceGoneError when the clock ran backwards."""
    elapsed_s = (after.time_ms - before.time_ms) / 1e3
    if elapsed_s <= 0 or after.total_mj < before.total_mj:
        raise DeviceGoneError("the device restarted between two readings of its power rails.")
    return (after.total_mj - before.total_mj) / elapsed_s


def energy_above_idle_mj(
    before: RailReading, after: RailReading, *, idle_mw: float, runs: int
) -> float:
    """Energy of one of ``runs`` inferences between two readings, without the idle draw, in mJ.

    Never negative: a result under the baseline is 0, for the rails resolve no less.
    """
    elapsed_s = (after.time_ms - before.time_ms) / 1e3
    spent_mj = power_mw(before, after) * elapsed_s - idle_mw * elapsed_s
    return max(0.0, spent_mj) / runs
