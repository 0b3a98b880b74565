"""The virtual phone itself: properties, files, programs, battery and faults of one description.

Rule: everything that a client reads from it is declared by the description or derived here;
nothing of the host shows through but the speed of its runner.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mobilesplit.emulator.adbd import FEATURES
from mobilesplit.emulator.battery import TEMPERATURE_DECI_C, PhoneBattery
from mobilesplit.emulator.device_description import DeviceDescription
from mobilesplit.emulator.faults import DENIED_FOLDERS, RAIL_FOLDERS, Faults
from mobilesplit.emulator.filesystem import PhoneFilesystem
from mobilesplit.emulator.gauge import GaugeReading
from mobilesplit.emulator.power_model import PowerModel
from mobilesplit.emulator.programs import AllowedPrograms, Programs
from mobilesplit.emulator.system_state import SystemState


@dataclass
class Connections:
    """How many hosts are connected, and were so far."""

    open: int = 0
    total: int = 0


class VirtualPhone:
    """One phone; ``state`` is its private folder on the host."""

    def __init__(
        self,
        description: DeviceDescription,
        *,
        name: str,
        state: Path,
        allowed: AllowedPrograms,
        seed: int = 0,
    ) -> None:
        self.description = description
        self.name = name
        self.connections = Connections()
        self.system = SystemState()
        self.faults = Faults()
        self.filesystem = PhoneFilesystem(state / "root")
        self.programs = Programs(
            self.filesystem,
            allowed=allowed,
            inference_slowdown=description.inference_slowdown,
            state=state,
        )
        self.programs.take_kill_after = self._take_kill_after
        self.battery = PhoneBattery(description, seed=seed)
        self.properties = _properties(description, name)
        self._started_s = time.monotonic()
        self._power = PowerModel(description.power)
        self._adopted: set[asyncio.Task[None]] = set()

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

    def gauge(self) -> GaugeReading:
        """The battery gauge now."""
        power = self.power()
        return self.battery.read(power.wall_s, power.total_j)

    @property
    def thermal_status(self) -> int:
        """Android's thermal status: what a command made of it, else a fault's."""
        override = self.system.thermal_override
        return self.faults.thermal_status if override is None else override

    def temperatures_c(self) -> dict[str, float]:
        """By thermal zone."""
        battery_c = TEMPERATURE_DECI_C / 10
        skin_c = self.faults.skin_celsius
        skin_c = battery_c if skin_c is None else skin_c
        return {"battery": battery_c, "skin": skin_c, "cpu-0-0-usr": skin_c}

    def change_faults(self, changes: Mapping[str, object]) -> Faults:
        """Change faults by name, from now on; all of them after. Raises as ``Faults.changed``."""
        faults = self.faults.changed(changes)
        self.gauge()  # what was until now stays as it was
        self.faults = faults
        self.battery.charging = faults.charging
        self.battery.gauge.frozen = faults.frozen_gauge
        self.filesystem.denied_folders = DENIED_FOLDERS if faults.denied_sysfs else ()
        self.filesystem.hidden_folders = RAIL_FOLDERS if faults.no_rails else ()
        if "free_nbytes" in changes:
            self.filesystem.limit_free_space(faults.free_nbytes)
        self.programs.set_slowdown_factor(faults.slowdown_factor)
        return faults

    def _take_kill_after(self) -> int | None:
        """After how many inferences the program that starts now is killed; asked once each."""
        num_inferences = self.faults.kill_runner_after
        if num_inferences is not None:
            self.change_faults({"kill_runner_after": None})
        return num_inferences

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Keep a shell that outlives its connection; it ends with the phone at the latest."""
        self._adopted.add(task)

        def forget(ended: asyncio.Task[None]) -> None:
            self._adopted.discard(ended)
            if not ended.cancelled():
                ended.exception()  # a write to the host that has gone: nobody is left to be told

        task.add_done_callback(forget)

    async def end_adopted(self) -> None:
        """For the phone's end."""
        for task in list(self._adopted):
            task.cancel()
        await asyncio.gather(*self._adopted, return_exceptions=True)

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
