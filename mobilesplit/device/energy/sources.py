"""What can tell this device's energy, and why the rest cannot.

Rule: a source is offered only after it has given a reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mobilesplit.core.errors import UnknownNameError, first_line
from mobilesplit.device.device import Device, ShellResult
from mobilesplit.device.energy.estimate import EnergyEstimate, Kind, Origin, refuse
from mobilesplit.device.energy.readings import Reading, parse_battery, parse_rails
from mobilesplit.device.energy.recording import PollRecording, Recording
from mobilesplit.device.energy.tracing import find_perfetto

SOURCE_NAMES = ("rails", "perfetto", "battery", "cmd")
"""In the order in which ``auto`` prefers them."""
_IIO = "/sys/bus/iio/devices"
_SUPPLY = "/sys/class/power_supply"
_BATTERY_FILES = (
    ("battery/current_now", "battery/voltage_now"),
    ("bms/current_now", "bms/voltage_now"),
    ("bms/current_now", "battery/voltage_now"),
    ("battery/BatteryAverageCurrent", "battery/voltage_now"),
    ("battery/BatteryAverageCurrent", "battery/batt_vol"),
    ("battery/current_now", "battery/batt_vol"),
)
"""Current and voltage, as mainline, Qualcomm and MediaTek kernels call them."""
_FILE_POLL_S = 0.25
"""Gauges refresh once a second or so: often enough to see when."""
_CMD_POLL_S = 1.0
"""It starts a process in Android's runtime each time, which the gauge would show."""
_COARSE = (
    "`Charge counter` of dumpsys battery",
    "too coarse for an inference: a step is what a phone uses in seconds to minutes",
)


class EnergySource(Protocol):
    """Something that tells energy or power."""

    @property
    def name(self) -> str:
        """As in ``--energy``."""

    @property
    def detail(self) -> str:
        """Which files, rails or commands."""

    @property
    def on_battery(self) -> bool:
        """Whether it watches the battery, and is therefore invalid while a cable feeds it."""

    def record(self, connect: Callable[[], Device], *, longest_s: float) -> Recording:
        """A recording, not yet started, over a connection of its own. What runs on the device
        ends after ``longest_s`` by itself, should nobody be left to end it."""


@dataclass(frozen=True)
class PolledSource:
    """A command that prints one reading."""

    name: str
    """As in ``--energy``."""
    detail: str
    """Which files or commands."""
    on_battery: bool
    """Whether a cable makes it invalid."""
    command: str
    """Cheap: it runs beside the inferences."""
    parse: Callable[[str], Reading | None]
    """Its output."""
    every_s: float
    """From one poll to the next."""

    def read(self, device: Device) -> Reading | None:
        """One reading; None where it does not give one."""
        return self.parse(device.shell(self.command).text)

    def record(self, connect: Callable[[], Device], *, longest_s: float) -> Recording:
        """See `EnergySource`; between polls nothing runs on the device."""
        return PollRecording(connect, self.read, every_s=self.every_s)


@dataclass(frozen=True)
class Available:
    """A source that has given a reading."""

    source: EnergySource

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name


@dataclass(frozen=True)
class Unavailable:
    """A source that cannot be used here."""

    name: str
    """The source's."""
    why: str
    """What the device said."""


def find_sources(device: Device) -> list[Available | Unavailable]:
    """Try every source once, in the order of preference; it takes a few seconds with perfetto.

    Raises:
        DeviceGoneError: the connection was lost.
    """
    found: list[Available | Unavailable] = [_find_rails(device)]
    traced = find_perfetto(device)
    found.append(Unavailable("perfetto", traced) if isinstance(traced, str) else Available(traced))
    found += [_find_battery(device), _find_cmd(device), Unavailable(*_COARSE)]
    return found


def choose(found: Sequence[Available | Unavailable], wanted: str = "auto") -> EnergySource | None:
    """The source called ``wanted``, or of ``auto`` the first of those that count rails, then of
    the rest; None where it is not available.

    Raises:
        UnknownNameError: no source is called so.
    """
    if wanted not in ("auto", *SOURCE_NAMES):
        raise UnknownNameError("energy source", wanted, ["auto", *SOURCE_NAMES])
    usable = [entry.source for entry in found if isinstance(entry, Available)]
    if wanted != "auto":
        return next((source for source in usable if source.name == wanted), None)
    files = [s for s in usable if not (s.name == "perfetto" and s.on_battery)]
    # perfetto's battery counters are the gauge of `battery` and `cmd` by a longer way.
    return next(iter([*files, *usable]), None)


def denied(
    found: Sequence[Available | Unavailable], kind: Kind, wanted: str = "auto"
) -> EnergyEstimate:
    """The estimate where ``choose`` found nothing: why, source by source."""
    reasons = [
        f"{entry.name}: {entry.why}"
        for entry in found
        if isinstance(entry, Unavailable) and wanted in ("auto", entry.name)
    ]
    return refuse(Origin("", kind), "denied", "; ".join(reasons) or "no source was found")


def _find_rails(device: Device) -> Available | Unavailable:
    listed = device.shell(f"ls {_IIO}")
    names = [name for name in listed.text.split() if name.startswith("iio:device")]
    if listed.exit_code != 0 or not names:
        return Unavailable("rails", _said(listed) or "the device has no power rails (ODPM)")
    paths = []
    for name in names:
        path = f"{_IIO}/{name}/energy_value"
        if parse_rails(device.shell(f"cat /proc/uptime {path}").text) is not None:
            paths.append(path)
    if not paths:
        first = device.shell(f"cat {_IIO}/{names[0]}/energy_value")
        return Unavailable("rails", _said(first) or "no power rails (ODPM) among its sensors")
    command = f"cat /proc/uptime {' '.join(paths)}"
    reading = parse_rails(device.shell(command).text)
    if reading is None:
        return Unavailable("rails", "the rails could be read once only")
    rails = ", ".join(reading.energy_uws)
    return Available(PolledSource("rails", rails, False, command, parse_rails, _FILE_POLL_S))


def _find_battery(device: Device) -> Available | Unavailable:
    why = ""
    for current, voltage in _BATTERY_FILES:
        command = f"cat /proc/uptime {_SUPPLY}/{current} {_SUPPLY}/{voltage}"
        result = device.shell(command)
        if parse_battery(result.text) is not None:
            detail = f"{_SUPPLY}/{current}, {voltage}"
            return Available(
                PolledSource("battery", detail, True, command, parse_battery, _FILE_POLL_S)
            )
        why = why or _said(result)
    return Unavailable("battery", why or "the kernel shows no current and voltage")


def _find_cmd(device: Device) -> Available | Unavailable:
    ask = "cmd battery get -f current_now"
    command = f"cat /proc/uptime; {ask}; dumpsys battery"
    if parse_battery(device.shell(command).text) is not None:
        return Available(PolledSource("cmd", ask, True, command, parse_battery, _CMD_POLL_S))
    return Unavailable("cmd", _said(device.shell(ask)) or f"`{ask}` gives no current")


def _said(result: ShellResult) -> str:
    """A failure in the device's words; empty where it said nothing."""
    if result.exit_code == 0 and not result.stderr.strip():
        return ""
    return first_line(result.stderr) or first_line(result.text)
