"""Built-in commands about the system: properties, processes, dumpsys.

Rule: an output keeps Android's own format as far as clients parse it; what the virtual phone
does not know is an error, never an invented answer.
"""

from __future__ import annotations

import asyncio
import posixpath
import signal

from mobilesplit.emulator.file_commands import FILE_COMMANDS
from mobilesplit.emulator.phone import BATTERY_TEMPERATURE_DECI_C
from mobilesplit.emulator.shell import BuiltIn, Invocation, ShellExit, usage_error

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}


async def getprop(call: Invocation) -> int:
    properties, names = call.phone.properties, call.arguments[1:]
    if not names:
        for name, value in sorted(properties.items()):
            await call.say(f"[{name}]: [{value}]")
        return 0
    default = names[1] if len(names) > 1 else ""
    await call.say(properties.get(names[0], default))
    return 0


async def echo(call: Invocation) -> int:
    words = call.arguments[1:]
    options: set[str] = set()
    while words and words[0] in ("-n", "-e", "-ne", "-en"):
        options |= set(words.pop(0)[1:])
    text = " ".join(words)
    if "e" in options:
        for escape, meaning in _ESCAPES.items():
            text = text.replace(escape, meaning)
    end = "" if "n" in options else "\n"
    await call.stdout.write((text + end).encode(errors="surrogateescape"))
    return 0


async def true(call: Invocation) -> int:
    return 0


async def false(call: Invocation) -> int:
    return 1


async def exit_(call: Invocation) -> int:
    text = call.arguments[1] if len(call.arguments) > 1 else str(call.state.status)
    if not text.isdecimal():
        raise usage_error("exit NUMBER")
    raise ShellExit(int(text) & 0xFF)


async def identity(call: Invocation) -> int:
    await call.say("uid=2000(shell) gid=2000(shell) groups=2000(shell) context=u:r:shell:s0")
    return 0


async def uname(call: Invocation) -> int:
    machine = {"arm64-v8a": "aarch64"}.get(call.phone.description.abi, call.phone.description.abi)
    parts = {"s": "Linux", "n": "localhost", "r": "5.10.0-virtual", "v": "#1", "m": machine}
    options = call.arguments[1].lstrip("-") if len(call.arguments) > 1 else "s"
    wanted = parts if options == "a" else [key for key in parts if key in options]
    await call.say(" ".join(parts[key] for key in wanted))
    return 0


async def nproc(call: Invocation) -> int:
    await call.say(str(call.phone.description.cores))
    return 0


async def ps(call: Invocation) -> int:
    await call.say("USER         PID  PPID NAME")
    await call.say(f"{'root':<9}{1:>7}{0:>6} init")
    for pid, program in sorted(call.phone.programs.live.items()):
        await call.say(f"{'shell':<9}{pid:>7}{3000:>6} {program.name}")
    return 0


async def pidof(call: Invocation) -> int:
    wanted = {posixpath.basename(name) for name in call.arguments[1:]}
    found = [
        str(pid)
        for pid, program in sorted(call.phone.programs.live.items())
        if posixpath.basename(program.name) in wanted
    ]
    if not found:
        return 1
    await call.say(" ".join(found))
    return 0


async def kill(call: Invocation) -> int:
    words = call.arguments[1:]
    number = int(signal.SIGTERM)
    if words and words[0].startswith("-"):
        text = words.pop(0)[1:].removeprefix("SIG")
        if text.isdecimal():
            number = int(text)
        elif f"SIG{text}" in signal.Signals.__members__:
            number = int(signal.Signals[f"SIG{text}"])
        else:
            raise usage_error(f"unknown signal {text!r}")
    if not words or not all(word.isdecimal() for word in words) or not 0 <= number <= 64:
        raise usage_error("kill [-SIGNAL] PID...")
    for word in words:
        call.phone.programs.signal(int(word), number)
    return 0


async def sleep(call: Invocation) -> int:
    try:
        seconds = float(call.arguments[1])
    except (IndexError, ValueError):
        raise usage_error("sleep SECONDS") from None
    if not 0 <= seconds <= 86400:
        raise usage_error("sleep SECONDS, 0 to 86400")
    await asyncio.sleep(seconds)
    return 0


async def dumpsys(call: Invocation) -> int:
    service = call.arguments[1] if len(call.arguments) > 1 else ""
    if service == "battery":
        reading = call.phone.battery()
        await call.say(
            "Current Battery Service state:\n  AC powered: false\n  USB powered: false\n"
            "  Wireless powered: false\n  Max charging current: 0\n  Max charging voltage: 0\n"
            f"  Charge counter: {reading.charge_uah}\n  status: 3\n  health: 2\n  present: true\n"
            f"  level: {reading.capacity_percent}\n  scale: 100\n"
            f"  voltage: {reading.voltage_uv // 1000}\n"
            f"  temperature: {BATTERY_TEMPERATURE_DECI_C}\n  technology: Li-ion"
        )
        return 0
    if service == "thermalservice":
        celsius = BATTERY_TEMPERATURE_DECI_C / 10
        temperatures = "\n".join(
            f"\tTemperature{{mValue={celsius}, mType={kind}, mName={name}, mStatus=0}}"
            for kind, name in ((2, "battery"), (3, "skin"))
        )
        await call.say(
            "IsStatusOverride: false\nThermalEventListeners:\n\tcallbacks: 0\n"
            "Thermal Status: 0\nCached temperatures:\n"
            f"{temperatures}\nHAL Ready: true\nHAL connection:\n\tThermalHAL 2.0 connected: yes\n"
            f"Current temperatures from HAL:\n{temperatures}\n"
            "Current cooling devices from HAL:"
        )
        return 0
    await call.complain(f"Can't find service: {service}")
    return 1


async def cmd(call: Invocation) -> int:
    words = call.arguments[1:]
    if words[:3] == ["battery", "get", "-f"]:
        words = ["battery", "get", *words[3:]]
    if words[:2] == ["battery", "get"] and len(words) == 3:
        reading = call.phone.battery()
        values = {
            "level": reading.capacity_percent,
            "current_now": reading.current_raw,
            "counter": reading.charge_uah,
            "temp": BATTERY_TEMPERATURE_DECI_C,
            "status": 3,
        }
        if words[2] in values:
            await call.say(str(values[words[2]]))
            return 0
    await call.complain(f"cmd: Can't find service: {' '.join(words)}")
    return 20


COMMANDS: dict[str, BuiltIn] = {
    **FILE_COMMANDS,
    "getprop": getprop, "echo": echo, "true": true, "false": false, "exit": exit_, ":": true,
    "id": identity, "uname": uname, "nproc": nproc, "ps": ps, "pidof": pidof, "kill": kill,
    "sleep": sleep, "dumpsys": dumpsys, "cmd": cmd,
}  # fmt: skip
