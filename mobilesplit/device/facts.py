"""What a device says of itself: read over adb in one command, nothing changed on it."""

from __future__ import annotations

import math
import re

from mobilesplit.core.errors import DeviceError, UnknownNameError, UsageError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.device import Device

CORES = ("big", "little", "all")
"""What `core_mask` chooses from."""

_PROPERTIES = (
    "ro.product.model",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.build.fingerprint",
    "ro.product.cpu.abi",
    "ro.product.cpu.abilist",
    "ro.serialno",
    "ro.kernel.qemu",
    "ro.mobilesplit.emulated",
    "ro.mobilesplit.inference_slowdown",
    "ro.mobilesplit.general_slowdown",
)
_SLOWDOWNS = ("inference", "general")
_CLOCKS = "/sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq"
_MARK = "=="
"""Between sections: each may be empty where the device denies it."""
_SECTIONS = ("nproc", "uname -r", f"echo {_CLOCKS}", f"cat {_CLOCKS}", "cat /proc/meminfo")


def read_facts(device: Device) -> DeviceFacts:
    """Model, Android version, ABIs, cores and clocks, memory; whether it is emulated, how slowed.

    Raises:
        DeviceError: it does not answer as an Android device does.
        DeviceGoneError: the connection was lost.
    """
    properties = "; ".join(f"getprop {name}" for name in _PROPERTIES)
    rest = "; ".join(f"echo {_MARK}; {command}" for command in _SECTIONS)
    script = f"{properties}; {rest}; true"
    found = parse_facts(device.check_shell(script), device.serial)
    if found is None:
        raise DeviceError(
            "it does not answer as an Android device does.", serial=device.serial, command=script
        )
    return found


def parse_facts(text: str, serial: str) -> DeviceFacts | None:
    """The facts in what the script printed; None where it is not what Android prints."""
    sections: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() == _MARK:
            sections.append([])
        else:
            sections[-1].append(line.strip())
    if len(sections) != 1 + len(_SECTIONS) or len(sections[0]) != len(_PROPERTIES):
        return None
    values = dict(zip(_PROPERTIES, sections[0], strict=True))
    slowdowns = [_slowdown(values[f"ro.mobilesplit.{kind}_slowdown"]) for kind in _SLOWDOWNS]
    if not all(1 <= slowdown < math.inf for slowdown in slowdowns):
        return None
    cores, kernel, clock_paths, clocks, meminfo = (" ".join(section) for section in sections[1:])
    total = re.search(r"\bMemTotal:\s+(\d+) kB", meminfo)
    model = values["ro.product.model"] or "unknown"
    sdk = values["ro.build.version.sdk"]
    return DeviceFacts(
        name=model,
        emulated="1" in (values["ro.kernel.qemu"], values["ro.mobilesplit.emulated"]),
        serial=serial,
        serial_number=values["ro.serialno"] or None,
        model=model,
        android=values["ro.build.version.release"] or None,
        sdk=int(sdk) if sdk.isdecimal() else None,
        build=values["ro.build.fingerprint"] or None,
        kernel=kernel or None,
        abi=values["ro.product.cpu.abi"] or None,
        abis=tuple(filter(None, values["ro.product.cpu.abilist"].split(","))),
        cores=int(cores) if cores.isdecimal() else None,
        core_max_khz=_clocks(clock_paths.split(), clocks.split()),
        memory_bytes=int(total[1]) * 1024 if total else None,
        inference_slowdown=slowdowns[0],
        general_slowdown=slowdowns[1],
    )


def _slowdown(told: str) -> float:
    """1 where nothing is told; NaN for what is no number: times could not be read without it."""
    try:
        return float(told or 1)
    except ValueError:
        return math.nan


def _clocks(paths: list[str], clocks: list[str]) -> tuple[int, ...]:
    """Clocks in the order of the cores; empty unless every core from 0 on tells its own."""
    numbers = [int(found[1]) for path in paths if (found := re.search(r"/cpu(\d+)/", path))]
    if len(numbers) != len(clocks) or not all(clock.isdecimal() for clock in clocks):
        return ()
    # The shell sorts cpu10 before cpu2.
    by_number = dict(zip(numbers, map(int, clocks), strict=True))
    if sorted(by_number) != list(range(len(by_number))):
        return ()
    return tuple(by_number[number] for number in range(len(by_number)))


def core_mask(facts: DeviceFacts, cores: str) -> str:
    """The hexadecimal mask that taskset(1) takes, bit 0 for core 0.

    Cores with the same highest clock are a cluster. ``little`` is the slowest cluster and ``big``
    all faster ones (a lone prime core with the middle ones: it alone would hold one thread only).
    With one cluster both are all cores.

    Raises:
        UnknownNameError: ``cores`` is none of `CORES`.
        UsageError: the device does not tell its clocks, or not its cores.
    """
    if cores not in CORES:
        raise UnknownNameError("choice of cores", cores, CORES)
    clocks = facts.core_max_khz
    if cores == "all" and not clocks and facts.cores:
        clocks = (0,) * facts.cores
    if not clocks:
        raise UsageError(
            f"{facts.name} does not tell the clocks of its cores, so none can be chosen by them.",
            next_step="Leave the choice of cores out.",
        )
    slowest = min(clocks)
    if cores == "all" or slowest == max(clocks):
        chosen = set(clocks)
    elif cores == "little":
        chosen = {slowest}
    else:
        chosen = set(clocks) - {slowest}
    return f"{sum(1 << number for number, clock in enumerate(clocks) if clock in chosen):x}"
