"""What a gauge said at one moment, and how its text reads. Pure.

All times are the device's own, in seconds since its boot (``/proc/uptime``, CLOCK_BOOTTIME).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

_RAIL = re.compile(r"^CH(\d+)\(T=(\d+)\)\[([^\]]+)\],\s*(\d+)\s*$", re.MULTILINE)
_FEEDER = re.compile(r"S\d+\w*LDO")
_LINEAR = re.compile(r"L\d+[A-Z]")
_UPTIME = re.compile(r"\s*(\d+\.\d+) \d+\.\d+\s*$")
_INTEGER = re.compile(r"\s*(-?\d+)\s*$")
_DUMPED_VOLTAGE = re.compile(r"^\s*voltage:\s*(\d+)\s*$", re.MULTILINE)
_LEAST_MICROVOLTS = 100_000
"""A battery has 3 to 18 V: over this a number is in µV, below it in mV."""


@dataclass(frozen=True)
class RailReading:
    """All power rails at one moment: cumulative energy."""

    time_s: float
    """When it was read."""
    counted_s: float
    """Up to when the rails had counted, by the clock they show; it may start anywhere."""
    energy_uws: dict[str, int]
    """Cumulative energy by rail, µWs."""

    @property
    def total_mj(self) -> float:
        """Sum of the rails in mJ."""
        return sum(self.energy_uws.values()) / 1e3


@dataclass(frozen=True)
class BatteryReading:
    """The battery gauge at one moment."""

    time_s: float
    """When it was read."""
    current_raw: int
    """In the gauge's unit and with its sign."""
    voltage_mv: float
    """Terminal voltage."""


Reading = RailReading | BatteryReading


class Window(NamedTuple):
    """A stretch of time in which the device did one thing."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.end_s - self.start_s


def parse_rails(text: str) -> RailReading | None:
    """``/proc/uptime``, then the content of one or more ``energy_value``; None without a rail.

    Source of the format: the driver of Google's ODPM, drivers/iio/power in the Pixel kernel.
    """
    first, _, rest = text.partition("\n")
    uptime, found = _UPTIME.match(first), _RAIL.findall(rest)
    if uptime is None or not found:
        return None
    energy_uws: dict[str, int] = {}
    chip, before = 0, -1
    for number, _, name, energy in found:
        channel = int(number)
        chip += channel <= before
        before = channel
        # Chips may call rails the same: by chip and channel none is lost.
        energy_uws[f"{name}/{chip}.CH{channel}" if name in energy_uws else name] = int(energy)
    counted_ms = max(int(time) for _, time, _, _ in found)
    return RailReading(float(uptime[1]), counted_ms / 1e3, energy_uws)


def rails_fed_by_others(names: Collection[str]) -> list[str]:
    """Rails whose energy another one of ``names`` shows as well, as far as their names tell.

    Google's PMICs call the outputs of their linear regulators ``L<number>...`` and the rails that
    supply those ``S<number>..._LLDO1``, ``..._MLDO``. Other nesting no name tells.
    """
    feeders = [name for name in names if _FEEDER.match(name)]
    return [name for name in names if _LINEAR.match(name)] if feeders else []


def parse_battery(text: str) -> BatteryReading | None:
    """``/proc/uptime``, the current, then the voltage as sysfs shows it or as `dumpsys battery`
    does; None where one of them is missing."""
    uptime_line, _, rest = text.partition("\n")
    current_line, _, rest = rest.partition("\n")
    uptime, current = _UPTIME.match(uptime_line), _INTEGER.match(current_line)
    shown = _INTEGER.match(rest)
    voltage_mv = _to_mv(int(shown[1])) if shown else parse_dumped_voltage_mv(rest)
    if uptime is None or current is None or voltage_mv is None or voltage_mv <= 0:
        return None
    return BatteryReading(float(uptime[1]), int(current[1]), voltage_mv)


def parse_dumped_voltage_mv(text: str) -> float | None:
    """The voltage of `dumpsys battery`, which is in mV."""
    found = _DUMPED_VOLTAGE.search(text)
    return float(found[1]) if found else None


def parse_uptime(text: str) -> float | None:
    """Seconds since boot from ``/proc/uptime``."""
    found = _UPTIME.match(text)
    return float(found[1]) if found else None


def _to_mv(shown: int) -> float:
    return shown / 1e3 if shown >= _LEAST_MICROVOLTS else float(shown)
