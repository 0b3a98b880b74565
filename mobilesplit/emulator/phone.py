"""The virtual phone itself: properties, files, programs and gauges of one description.

Rule: everything that a client reads from it is declared by the description or derived here;
nothing of the host shows through but the speed of its runner.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from mobilesplit.emulator.adbd import FEATURES
from mobilesplit.emulator.device_description import DeviceDescription
from mobilesplit.emulator.filesystem import PhoneFilesystem
from mobilesplit.emulator.gauge import Gauge, GaugeReading
from mobilesplit.emulator.power_model import PowerModel
from mobilesplit.emulator.programs import AllowedPrograms, Programs

BATTERY_TEMPERATURE_DECI_C = 270
"""Constant: the virtual phone has no thermal model and never throttles."""
_USER_HZ = 100


@dataclass
class Connections:
    """How many hosts are connected, and were so far."""

    open: int = 0
    total: int = 0


class VirtualPhone:
    """One phone; ``state`` is its private folder on the host."""

    def __init__(
        self, description: DeviceDescription, *, name: str, state: Path, allowed: AllowedPrograms
    ) -> None:
        self.description = description
        self.name = name
        self.connections = Connections()
        self.filesystem = PhoneFilesystem(state / "root")
        self.programs = Programs(
            self.filesystem,
            allowed=allowed,
            inference_slowdown=description.inference_slowdown,
            run_counter=state / "inferences",
        )
        self._started_s = time.monotonic()
        self._power = PowerModel(description.power)
        self._gauge = Gauge(
            description.gauge,
            description.battery,
            seed=0,
            power_before_w=description.power.idle_w,
        )
        self.properties = _properties(description, name)
        self._add_files()

    @property
    def uptime_s(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started_s

    @property
    def busy_s(self) -> float:
        """Modelled busy core time: slowed inferences sleep, so host CPU time is scaled up."""
        return self.programs.cpu_s() * self.description.inference_slowdown

    def banner(self) -> bytes:
        """The device's half of CNXN."""
        shown = ("ro.product.name", "ro.product.model", "ro.product.device")
        listed = "".join(f"{key}={self.properties[key]};" for key in shown)
        return f"device::{listed}features={FEATURES}".encode()

    def power(self) -> PowerModel:
        """The power model, brought up to now."""
        self._power.update(wall_s=self.uptime_s, busy_s=self.busy_s)
        return self._power

    def battery(self) -> GaugeReading:
        """The gauge now."""
        power = self.power()
        return self._gauge.read(power.wall_s, power.total_j)

    def stats(self) -> dict[str, int | float]:
        """What `phone_stats` reports."""
        return {
            "runner_starts": self.programs.starts,
            "inferences": self.programs.inferences,
            "connections": self.connections.open,
            "connections_total": self.connections.total,
            "programs_running": len(self.programs.live),
            "modelled_busy_s": round(self.busy_s, 6),
            "modelled_energy_j": round(self.power().total_j, 6),
        }

    def memory_kib(self) -> tuple[int, int]:
        """Total and available. Assumed: the system keeps 40 %, running programs the rest."""
        total = self.description.memory_bytes // 1024
        used = sum(_resident_kib(item.popen.pid) for item in self.programs.live.values())
        return total, max(0, int(total * 0.6) - used)

    def _add_files(self) -> None:
        add, cores = self.filesystem.add_virtual, self.description.max_clock_khz
        add("/proc/cpuinfo", self._cpuinfo)
        add("/proc/meminfo", self._meminfo)
        add("/proc/stat", self._stat)
        add("/proc/uptime", lambda: f"{self.uptime_s:.2f} {self.uptime_s:.2f}\n".encode())
        cpu = "/sys/devices/system/cpu"
        everyone = f"0-{len(cores) - 1}\n".encode() if len(cores) > 1 else b"0\n"
        for file in ("present", "online", "possible"):
            add(f"{cpu}/{file}", lambda: everyone)
        for core, khz in enumerate(cores):
            clock = f"{khz}\n".encode()
            for file in ("cpuinfo_max_freq", "scaling_max_freq"):
                add(f"{cpu}/cpu{core}/cpufreq/{file}", lambda clock=clock: clock)  # type: ignore[misc]
        iio = "/sys/bus/iio/devices/iio:device0"
        add(f"{iio}/name", lambda: b"s2mpg10-odpm\n")
        add(
            f"{iio}/enabled_rails", lambda: b"CH0[S1M_VDD_CPU]:CPU\nCH1[VSYS_PWR_DISPLAY]:Display\n"
        )
        add(f"{iio}/energy_value", lambda: self.power().energy_value())
        supply = "/sys/class/power_supply/battery"
        full = int(self.description.battery.capacity_mah * 1000)
        add(f"{supply}/current_now", lambda: b"%d\n" % self.battery().current_raw)
        add(f"{supply}/voltage_now", lambda: b"%d\n" % self.battery().voltage_uv)
        add(f"{supply}/charge_counter", lambda: b"%d\n" % self.battery().charge_uah)
        add(f"{supply}/charge_full", lambda: b"%d\n" % full)
        add(f"{supply}/capacity", lambda: b"%d\n" % self.battery().capacity_percent)
        add(f"{supply}/status", lambda: b"Discharging\n")
        add(f"{supply}/temp", lambda: b"%d\n" % BATTERY_TEMPERATURE_DECI_C)

    def _cpuinfo(self) -> bytes:
        blocks = [
            f"processor\t: {core}\nmodel name\t: {self.description.model} (virtual)\n"
            f"cpu MHz\t\t: {khz / 1000:.3f}\n"
            for core, khz in enumerate(self.description.max_clock_khz)
        ]
        return ("\n".join(blocks) + f"\nHardware\t: {self.description.model}\n").encode()

    def _meminfo(self) -> bytes:
        total, available = self.memory_kib()
        rows = (("MemTotal", total), ("MemFree", available // 2), ("MemAvailable", available))
        return "".join(f"{name + ':':<16}{kib:>8} kB\n" for name, kib in rows).encode()

    def _stat(self) -> bytes:
        busy = int(self.busy_s * _USER_HZ)
        cores = self.description.cores
        idle = max(0, int(self.uptime_s * _USER_HZ) * cores - busy)
        rest = "0 0 0 0 0 0"
        lines = [f"cpu  {busy} 0 0 {idle} {rest}"]
        lines += [f"cpu{core} {busy // cores} 0 0 {idle // cores} {rest}" for core in range(cores)]
        return ("\n".join(lines) + f"\nbtime {int(time.time() - self.uptime_s)}\n").encode()


def _properties(description: DeviceDescription, name: str) -> dict[str, str]:
    code_name = description.name.replace("-", "_")
    return {
        "ro.product.name": code_name,
        "ro.product.device": code_name,
        "ro.product.model": description.model,
        "ro.product.brand": description.manufacturer.lower(),
        "ro.product.manufacturer": description.manufacturer,
        "ro.product.cpu.abi": description.abi,
        "ro.product.cpu.abilist": description.abi,
        "ro.build.version.release": description.android,
        "ro.build.version.sdk": str(description.sdk),
        "ro.build.type": "userdebug",
        "ro.build.fingerprint": f"mobilesplit/{code_name}/virtual:{description.android}",
        "ro.hardware": "mobilesplit",
        "ro.serialno": name,
        "ro.kernel.qemu": "1",
        "ro.mobilesplit.emulated": "1",
        "ro.mobilesplit.description": description.name,
        "ro.mobilesplit.inference_slowdown": f"{description.inference_slowdown:g}",
        "ro.mobilesplit.general_slowdown": f"{description.general_slowdown:g}",
        "sys.boot_completed": "1",
    }


def _resident_kib(pid: int) -> int:
    try:
        status = (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
