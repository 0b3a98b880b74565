"""The virtual files under /proc and /sys, made when they are read."""

from __future__ import annotations

import time

from mobilesplit.emulator.battery import TEMPERATURE_DECI_C
from mobilesplit.emulator.filesystem import Content
from mobilesplit.emulator.phone import VirtualPhone

_USER_HZ = 100


def add_kernel_files(phone: VirtualPhone) -> None:
    """Give a phone its virtual files."""
    contents: dict[str, Content] = {
        "/proc/cpuinfo": lambda: _cpuinfo(phone),
        "/proc/meminfo": lambda: _meminfo(phone),
        "/proc/stat": lambda: _stat(phone),
        "/proc/uptime": lambda: f"{phone.uptime_s:.2f} {phone.uptime_s:.2f}\n".encode(),
        **_cores(phone),
        **_rails(phone),
        **_battery(phone),
        **_thermal_zones(phone),
    }
    for path, content in contents.items():
        phone.filesystem.add_virtual(path, content)


def _cores(phone: VirtualPhone) -> dict[str, Content]:
    clocks = phone.description.max_clock_khz
    folder = "/sys/devices/system/cpu"
    everyone = f"0-{len(clocks) - 1}" if len(clocks) > 1 else "0"
    found = {f"{folder}/{file}": _line(everyone) for file in ("present", "online", "possible")}
    for core, khz in enumerate(clocks):
        for file in ("cpuinfo_max_freq", "scaling_max_freq"):
            found[f"{folder}/cpu{core}/cpufreq/{file}"] = _line(khz)
    return found


def _rails(phone: VirtualPhone) -> dict[str, Content]:
    folder = "/sys/bus/iio/devices/iio:device0"
    return {
        f"{folder}/name": _line("s2mpg10-odpm"),
        f"{folder}/enabled_rails": _line("CH0[S1M_VDD_CPU]:CPU\nCH1[VSYS_PWR_DISPLAY]:Display"),
        f"{folder}/energy_value": lambda: phone.power().energy_value(),
    }


def _battery(phone: VirtualPhone) -> dict[str, Content]:
    folder = "/sys/class/power_supply/battery"
    return {
        f"{folder}/current_now": lambda: b"%d\n" % phone.gauge().current_raw,
        f"{folder}/voltage_now": lambda: b"%d\n" % phone.gauge().voltage_uv,
        f"{folder}/charge_counter": lambda: b"%d\n" % phone.gauge().charge_uah,
        f"{folder}/charge_full": _line(int(phone.description.battery.capacity_mah * 1000)),
        f"{folder}/capacity": lambda: b"%d\n" % phone.gauge().capacity_percent,
        f"{folder}/status": lambda: f"{phone.battery.status_word}\n".encode(),
        f"{folder}/temp": _line(TEMPERATURE_DECI_C),
    }


def _thermal_zones(phone: VirtualPhone) -> dict[str, Content]:
    found: dict[str, Content] = {}
    for number, kind in enumerate(phone.temperatures_c()):
        folder = f"/sys/class/thermal/thermal_zone{number}"
        found[f"{folder}/type"] = _line(kind)
        found[f"{folder}/temp"] = lambda kind=kind: (
            b"%d\n" % round(phone.temperatures_c()[kind] * 1000)
        )  # type: ignore[misc]
    return found


def _line(value: object) -> Content:
    content = f"{value}\n".encode()
    return lambda: content


def _cpuinfo(phone: VirtualPhone) -> bytes:
    model = phone.description.model
    blocks = [
        f"processor\t: {core}\nmodel name\t: {model} (virtual)\ncpu MHz\t\t: {khz / 1000:.3f}\n"
        for core, khz in enumerate(phone.description.max_clock_khz)
    ]
    return ("\n".join(blocks) + f"\nHardware\t: {model}\n").encode()


def _meminfo(phone: VirtualPhone) -> bytes:
    total, available = phone.memory_kib()
    rows = (("MemTotal", total), ("MemFree", available // 2), ("MemAvailable", available))
    return "".join(f"{name + ':':<16}{kib:>8} kB\n" for name, kib in rows).encode()


def _stat(phone: VirtualPhone) -> bytes:
    busy = int(phone.busy_s * _USER_HZ)
    cores = phone.description.cores
    idle = max(0, int(phone.uptime_s * _USER_HZ) * cores - busy)
    rest = "0 0 0 0 0 0"
    lines = [f"cpu  {busy} 0 0 {idle} {rest}"]
    lines += [f"cpu{core} {busy // cores} 0 0 {idle // cores} {rest}" for core in range(cores)]
    return ("\n".join(lines) + f"\nbtime {int(time.time() - phone.uptime_s)}\n").encode()
