"""Built-in commands that read and set the phone's state: settings, svc, cmd, dumpsys, input.

Rule: an output keeps Android's own format as far as clients parse it, and what this phone's
Android version does not have fails as it does there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mobilesplit.emulator.battery import OVERRIDABLE, TEMPERATURE_DECI_C
from mobilesplit.emulator.shell import BuiltIn, Invocation, usage_error
from mobilesplit.emulator.system_state import NAMESPACES, STAY_ON, STAY_ON_BITS

_ANDROID_10, _ANDROID_11 = 29, 30
_UNKNOWN_COMMAND = 255
_NO_SERVICE = 20
_SLEEP_KEYS = ("223", "KEYCODE_SLEEP", "SLEEP")
_WAKE_KEYS = ("224", "KEYCODE_WAKEUP", "WAKEUP", "82", "KEYCODE_MENU", "MENU")
_POWER_KEYS = ("26", "KEYCODE_POWER", "POWER")


async def settings(call: Invocation) -> int:
    words = call.arguments[1:]
    usage = usage_error("settings get|put|delete|list global|secure|system [KEY [VALUE]]")
    counts = {"get": 3, "put": 4, "delete": 3, "list": 2}
    if len(words) < 2 or counts.get(words[0]) != len(words) or words[1] not in NAMESPACES:
        raise usage
    action, table = words[0], call.phone.system.settings[words[1]]
    if action == "list":
        for key, value in sorted(table.items()):
            await call.say(f"{key}={value}")
    elif action == "get":
        await call.say(table.get(words[2], "null"))
    elif action == "put":
        table[words[2]] = words[3]
    else:
        found = table.pop(words[2], None)
        await call.say(f"Deleted {int(found is not None)} rows")
    return 0


async def svc(call: Invocation) -> int:
    words = call.arguments[1:]
    if words[:2] != ["power", "stayon"] or len(words) != 3 or words[2] not in STAY_ON_BITS:
        raise usage_error(f"svc power stayon {'|'.join(STAY_ON_BITS)}")
    call.phone.system.settings["global"][STAY_ON] = str(STAY_ON_BITS[words[2]])
    if words[2] != "false":
        call.phone.system.awake = True
    return 0


async def input_(call: Invocation) -> int:
    words = call.arguments[1:]
    if len(words) != 2 or words[0] != "keyevent":
        raise usage_error("input keyevent KEY on the virtual phone")
    system = call.phone.system
    if words[1] in _SLEEP_KEYS:
        system.awake = False
    elif words[1] in _WAKE_KEYS:
        system.awake = True
    elif words[1] in _POWER_KEYS:
        system.awake = not system.awake
    return 0


async def cmd(call: Invocation) -> int:
    words = call.arguments[1:]
    service = _CMD_SERVICES.get(words[0]) if words else None
    if service is None or (words[0] == "thermalservice" and not _has_thermal_service(call)):
        await call.complain(f"cmd: Can't find service: {' '.join(words[:1])}")
        return _NO_SERVICE
    return await service(call, words[1:])


async def dumpsys(call: Invocation) -> int:
    words = call.arguments[1:]
    name = words[0] if words else ""
    if name == "battery":
        return await (_battery_command(call, words[1:]) if words[1:] else _dump_battery(call))
    if name == "thermalservice" and _has_thermal_service(call):
        return await _dump_thermal(call)
    if name == "power":
        return await _dump_power(call)
    await call.complain(f"Can't find service: {name}")
    return 1


def _has_thermal_service(call: Invocation) -> bool:
    return call.phone.description.sdk >= _ANDROID_10


async def _power_command(call: Invocation, words: list[str]) -> int:
    known = call.phone.description.sdk >= _ANDROID_11
    if not known or words[:1] != ["set-fixed-performance-mode-enabled"]:
        await call.complain(f"Unknown command: {' '.join(words[:1])}")
        return _UNKNOWN_COMMAND
    if words[1:] not in (["true"], ["false"]):
        raise usage_error("cmd power set-fixed-performance-mode-enabled true|false")
    call.phone.system.fixed_performance = words[1] == "true"
    return 0


async def _thermal_command(call: Invocation, words: list[str]) -> int:
    if words == ["reset"]:
        call.phone.system.thermal_override = None
        return 0
    if words[:1] == ["override-status"] and len(words) == 2 and words[1] in tuple("0123456"):
        call.phone.system.thermal_override = int(words[1])
        return 0
    raise usage_error("cmd thermalservice override-status 0..6, or reset")


async def _battery_command(call: Invocation, words: list[str]) -> int:
    """``set``, ``unplug``, ``reset`` and ``get``, by way of `dumpsys` or `cmd`."""
    action, rest = words[0] if words else "", [word for word in words[1:] if word != "-f"]
    battery, reading = call.phone.battery, call.phone.gauge()
    if action == "reset":
        battery.reset()
    elif action == "unplug":
        battery.unplug(reading)
    elif action == "set" and len(rest) == 2 and rest[0] in OVERRIDABLE and _is_number(rest[1]):
        battery.override(reading, {rest[0]: int(rest[1])})
    elif action == "get" and len(rest) == 1:
        values = {**battery.service_values(reading), "current_now": reading.current_raw}
        if rest[0] not in values:
            await call.complain(f"Unknown get option: {rest[0]}")
            return _UNKNOWN_COMMAND
        plug = rest[0] in OVERRIDABLE[:3]
        await call.say(_truth(values[rest[0]]) if plug else str(values[rest[0]]))
    else:
        raise usage_error(f"get [-f] KEY, set [-f] KEY NUMBER, unplug, reset; known: {OVERRIDABLE}")
    return 0


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _truth(value: int) -> str:
    return "true" if value else "false"


async def _dump_battery(call: Invocation) -> int:
    reading = call.phone.gauge()
    values = call.phone.battery.service_values(reading)
    stopped = "\n  (UPDATES STOPPED -- use 'reset' to restart)" * call.phone.battery.is_held
    await call.say(
        f"Current Battery Service state:{stopped}\n  AC powered: {_truth(values['ac'])}\n"
        f"  USB powered: {_truth(values['usb'])}\n"
        f"  Wireless powered: {_truth(values['wireless'])}\n"
        "  Max charging current: 0\n  Max charging voltage: 0\n"
        f"  Charge counter: {values['counter']}\n  status: {values['status']}\n  health: 2\n"
        f"  present: {_truth(values['present'])}\n  level: {values['level']}\n  scale: 100\n"
        f"  voltage: {reading.voltage_uv // 1000}\n  temperature: {values['temp']}\n"
        "  technology: Li-ion"
    )
    return 0


async def _dump_thermal(call: Invocation) -> int:
    """ThermalManagerService.dump: the cached temperatures are those of the start."""
    phone = call.phone
    now_c = phone.temperatures_c()
    status = phone.faults.thermal_status
    first_c = dict.fromkeys(now_c, TEMPERATURE_DECI_C / 10)
    overridden = phone.system.thermal_override is not None
    await call.say(
        f"IsStatusOverride: {_truth(overridden)}\nThermalEventListeners:\n\tcallbacks: 0\n"
        f"\tkilled: false\n\tbroadcasts count: -1\nThermalStatusListeners:\n\tcallbacks: 0\n"
        f"\tkilled: false\n\tbroadcasts count: -1\nThermal Status: {phone.thermal_status}\n"
        f"Cached temperatures:\n{_temperatures(first_c, 0)}\nHAL Ready: true\nHAL connection:\n"
        "\tThermalHAL 2.0 connected: yes\n"
        f"Current temperatures from HAL:\n{_temperatures(now_c, status)}\n"
        "Current cooling devices from HAL:\n\tCoolingDevice{mValue=0, mType=2, mName=cpu}"
    )
    return 0


def _temperatures(celsius: dict[str, float], skin_status: int) -> str:
    rows = (("cpu-0-0-usr", 0, 0), ("battery", 2, 0), ("skin", 3, skin_status))
    return "\n".join(
        f"\tTemperature{{mValue={celsius[name]}, mType={kind}, mName={name}, mStatus={status}}}"
        for name, kind, status in rows
    )


async def _dump_power(call: Invocation) -> int:
    phone = call.phone
    values = phone.battery.service_values(phone.gauge())
    plugs = sum(bit for bit, name in ((1, "ac"), (2, "usb"), (4, "wireless")) if values[name])
    setting = phone.system.settings["global"].get(STAY_ON, "0")
    stays_on = bool(plugs & int(setting)) if setting.isdecimal() else False
    await call.say(
        "POWER MANAGER (dumpsys power)\n\nPower Manager State:\n"
        f"  mWakefulness={'Awake' if phone.system.awake else 'Asleep'}\n"
        f"  mIsPowered={_truth(plugs)}\n  mPlugType={plugs}\n  mStayOn={_truth(stays_on)}"
    )
    return 0


_CMD_SERVICES: dict[str, Callable[[Invocation, list[str]], Awaitable[int]]] = {
    "battery": _battery_command,
    "power": _power_command,
    "thermalservice": _thermal_command,
}

STATE_COMMANDS: dict[str, BuiltIn] = {
    "settings": settings, "svc": svc, "input": input_, "cmd": cmd, "dumpsys": dumpsys,
}  # fmt: skip
