"""What a device says of itself: read over adb, nothing changed on it."""

from __future__ import annotations

import re

from mobilesplit.core.errors import DeviceError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.device import Device

_PROPERTIES = (
    "ro.product.model",
    "ro.build.version.release",
    "ro.product.cpu.abi",
    "ro.kernel.qemu",
    "ro.mobilesplit.emulated",
    "ro.mobilesplit.inference_slowdown",
    "ro.mobilesplit.general_slowdown",
)


def read_facts(device: Device) -> DeviceFacts:
    """Model, Android version, ABI, cores, memory; whether it is emulated, and how slowed.

    Raises:
        DeviceError: it does not answer as an Android device does.
    """
    script = "; ".join(f"getprop {name}" for name in _PROPERTIES)
    lines = device.check_shell(script).splitlines()
    if len(lines) != len(_PROPERTIES):
        raise DeviceError(
            f"getprop answered {len(lines)} lines instead of {len(_PROPERTIES)}.",
            serial=device.serial,
            command=script,
        )
    values = dict(zip(_PROPERTIES, (line.strip() for line in lines), strict=True))
    cores = device.check_shell("nproc").strip()
    meminfo = device.check_shell("cat /proc/meminfo")
    total = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    model = values["ro.product.model"] or "unknown"
    emulated = "1" in (values["ro.kernel.qemu"], values["ro.mobilesplit.emulated"])
    return DeviceFacts(
        name=model,
        emulated=emulated,
        serial=device.serial,
        model=model,
        android=values["ro.build.version.release"] or None,
        abi=values["ro.product.cpu.abi"] or None,
        cores=int(cores) if cores.isdecimal() else None,
        memory_bytes=int(total[1]) * 1024 if total else None,
        inference_slowdown=float(values["ro.mobilesplit.inference_slowdown"] or 1),
        general_slowdown=float(values["ro.mobilesplit.general_slowdown"] or 1),
    )
