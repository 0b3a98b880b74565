"""Whether a cable feeds the device: then its battery gauge says nothing about what it uses.

Android's battery service can be told to lie (`dumpsys battery unplug`); the kernel's files cannot,
so both are asked. Source of the words: AOSP BatteryService.dumpInternal, BatteryManager;
Linux Documentation/ABI/testing/sysfs-class-power.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.device import Device
from mobilesplit.device.energy.readings import parse_uptime

_FOLDER = "/sys/class/power_supply"
_PLUGS = ("usb", "ac", "wireless")
_UPTIME = "cat /proc/uptime"
_ONLINE, _STATUS, _END = "mobilesplit-online", "mobilesplit-status", "mobilesplit-end"
_COMMAND = "; ".join(
    (
        _UPTIME,
        "dumpsys battery",
        f"echo {_ONLINE}",
        "cat " + " ".join(f"{_FOLDER}/{plug}/online" for plug in _PLUGS),
        f"echo {_STATUS}",
        f"cat {_FOLDER}/battery/status",
        f"echo {_END}",
        _UPTIME,
    )
)
_POWERED = re.compile(r"^\s*(AC|USB|Wireless|Dock) powered:\s*true\s*$", re.MULTILINE)
_DUMPED_STATUS = re.compile(r"^\s*status:\s*(\d+)\s*$", re.MULTILINE)
_STATUS_WORDS = {1: "Unknown", 2: "Charging", 3: "Discharging", 4: "Not charging", 5: "Full"}
_FED = ("Charging", "Full")


@dataclass(frozen=True)
class PowerState:
    """One look at the device's supply."""

    began_s: float
    """The device's time when the look began."""
    ended_s: float
    """And when it ended."""
    fed_by: tuple[str, ...]
    """What says that a cable feeds the device, in words; empty when it runs from its battery."""
    overridden: bool
    """Whether somebody told the battery service what to believe."""

    @property
    def is_fed(self) -> bool:
        """Whether the battery's current is not what the device uses."""
        return bool(self.fed_by)


def read_power_state(device: Device) -> PowerState:
    """Ask the battery service and the kernel.

    Raises:
        DeviceError: it does not even show its uptime.
        DeviceGoneError: the connection was lost.
    """
    result = device.shell(_COMMAND)
    state = parse_power_state(result.text)
    if state is None:
        raise DeviceError(
            "the device does not show /proc/uptime.",
            serial=device.serial,
            command=_COMMAND,
            command_exit_code=result.exit_code,
            stderr=result.stderr,
        )
    return state


def parse_power_state(text: str) -> PowerState | None:
    """The output of the command; None where the device's time is missing."""
    before, _, rest = text.partition(_ONLINE)
    online, _, rest = rest.partition(_STATUS)
    kernel_status, _, after = rest.partition(_END)
    first, _, dump = before.partition("\n")
    began_s, ended_s = parse_uptime(first), parse_uptime(after.strip())
    if began_s is None or ended_s is None:
        return None
    fed_by = [f"{name} powered" for name in _POWERED.findall(dump)]
    dumped = _DUMPED_STATUS.search(dump)
    status = _STATUS_WORDS.get(int(dumped[1])) if dumped else None
    if status in _FED:
        fed_by.append(f"battery status {status}")
    if "1" in online.split():
        fed_by.append("the kernel sees a charger")
    if kernel_status.strip() in _FED:
        fed_by.append(f"kernel status {kernel_status.strip()}")
    overridden = "UPDATES STOPPED" in dump
    if overridden and kernel_status.strip() in ("", "Not charging"):
        # At its charge limit a phone on a cable does not charge, and who could tell of the cable
        # was told to keep silent.
        told = (
            f"kernel status {kernel_status.strip()}"
            if kernel_status.strip()
            else "the kernel silent"
        )
        fed_by.append(f"battery service overridden, {told}")
    return PowerState(began_s, ended_s, tuple(fed_by), overridden)
