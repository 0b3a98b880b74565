"""A device: can it be reached, can it run heads, and what of it can be measured. It is only
looked at; nothing on it is changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

from mobilesplit.core.errors import DeviceError, DeviceGoneError, MobilesplitError, first_line
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.causes import NEXT_STEPS, find_cause, next_step_for
from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device
from mobilesplit.device.doctor.finding import Finding, failure, ok, warning
from mobilesplit.device.energy.power_state import read_power_state
from mobilesplit.device.energy.sources import Available, find_sources
from mobilesplit.device.facts import read_facts
from mobilesplit.device.listing import Found
from mobilesplit.device.push import PARTIAL, REMOTE_FOLDER
from mobilesplit.device.runner_build.choice import find_runner
from mobilesplit.device.runner_build.prerequisites import executorch_version
from mobilesplit.device.runner_build.runners import BINARY_NAME
from mobilesplit.device.thermal import read_thermal

_LEAST_SDK = 26
"""What tools/build_android_runner builds for: Android 8."""
_LEAST_FREE_KIB = 300_000
_COOL_C = 37.0
_VERSION_S = 20.0


def look_at_device(found: Found) -> Iterator[Finding]:
    """Lines about one device, the first about its state."""
    if not found.usable:
        yield failure("state", found.state, found.mend)
        return
    try:
        with connect(found.serial) as device:
            yield from _look(device)
    except DeviceError as error:
        yield failure("state", f"{error.cause or 'unusable'}: {error.what}", error.next_step)
    except MobilesplitError as error:  # of this machine: its adb key, a variable of adb's
        yield failure("state", f"not connected: {error.what}", error.next_step)


def _look(device: Device) -> Iterator[Finding]:
    facts = read_facts(device)
    kind = "emulated: its times and energy stand for no phone" if facts.emulated else "a phone"
    yield ok("state", f"device, over {device.transport}; {facts.name}, {kind}")
    # It runs this machine's own runner, as runner_build has it; an AVD does not.
    virtual_phone = device.check_shell("getprop ro.mobilesplit.emulated") == "1"
    yield judge_android(facts, virtual_phone)
    yield judge_abi(facts, virtual_phone)
    yield judge_cores(facts)
    checks: tuple[Callable[[Device], Finding], ...] = (_room, _battery, _thermal, _pushed_runner)
    for check in checks:
        yield _told(check, device)
    yield from _energy(device)


def _told(check: Callable[[Device], Finding], device: Device) -> Finding:
    """The check's line; a device that does not answer it is its line, not the end of the others."""
    try:
        return check(device)
    except DeviceGoneError:
        raise
    except DeviceError as error:
        return warning(check.__name__.strip("_").replace("_", " "), error.what, error.next_step)


def judge_android(facts: DeviceFacts, virtual_phone: bool) -> Finding:
    """Whether a runner can be built for its Android."""
    says = f"{facts.android or '?'} (API {facts.sdk or '?'})"
    if not virtual_phone and facts.sdk is not None and facts.sdk < _LEAST_SDK:
        return failure(
            "Android", says, f"The runner needs API {_LEAST_SDK} (Android 8): use a newer device."
        )
    return ok("Android", says)


def judge_abi(facts: DeviceFacts, virtual_phone: bool) -> Finding:
    """Whether there is a runner for its ABI here."""
    abi = facts.abi or "unknown ABI"
    if virtual_phone:
        return ok("ABI", f"{abi}; this machine's own runner serves, built where it is missing")
    try:
        runner = find_runner(facts.abi, virtual_phone=False, serial=facts.serial)
    except DeviceError as error:
        return failure("ABI", f"{abi}: {error.what}", error.next_step)
    return ok("ABI", f"{abi}; its runner is {runner.path}")


def judge_cores(facts: DeviceFacts) -> Finding:
    """Its cores by clock, the fastest first."""
    if not facts.core_max_khz:
        return warning(
            "cores",
            f"{facts.cores or '?'}, of clocks that it does not tell",
            "Big or little cores cannot be chosen here; leave --cores out.",
        )
    clusters = Counter(facts.core_max_khz)
    listing = " + ".join(
        f"{clusters[khz]} x {khz / 1e6:.2f} GHz" for khz in sorted(clusters, reverse=True)
    )
    return ok("cores", listing)


def _room(device: Device) -> Finding:
    lines = device.check_shell("df -k /data/local/tmp").splitlines()
    words = lines[-1].split() if lines else []
    if len(words) < 4 or not words[3].isdecimal():
        return warning("room", "df does not tell", "See `adb shell df /data/local/tmp`.")
    free_kib = int(words[3])
    says = f"{free_kib * 1024 / 1e9:.1f} GB free in /data/local/tmp"
    if free_kib < _LEAST_FREE_KIB:
        return warning("room", says, "Free some: a program of 100 MB or more may not fit.")
    return ok("room", says)


def _battery(device: Device) -> Finding:
    state = read_power_state(device)
    if state.overridden:
        return warning(
            "battery", "its state is overridden", "Run `adb shell dumpsys battery reset`."
        )
    if state.is_fed:
        return warning(
            "battery",
            f"fed by a cable ({', '.join(state.fed_by)})",
            "For energy off the battery gauge, connect over Wi-Fi and unplug it.",
        )
    return ok("battery", "runs from its battery")


def _thermal(device: Device) -> Finding:
    thermal = read_thermal(device)
    says = thermal.describe()
    if thermal.throttled:
        return warning("thermal", says, "Let it cool down; `profile` waits for that.")
    if thermal.status is None:
        return warning(
            "thermal", says, "Throttling cannot be seen here: watch the drift in the verdicts."
        )
    if not thermal.is_cool(_COOL_C):
        return warning("thermal", says, f"`profile` waits until it is at {_COOL_C:g} °C.")
    return ok("thermal", says)


def _pushed_runner(device: Device) -> Finding:
    names = device.shell(f"ls {REMOTE_FOLDER}")
    runners = [
        name
        for name in names.text.split()
        if name.startswith(BINARY_NAME) and not name.endswith(PARTIAL)
    ]
    if names.exit_code != 0 or not runners:
        return ok("pushed runner", "none yet; `mobilesplit push` and `profile` bring it")
    command = f"{REMOTE_FOLDER}/{runners[-1]} --version"
    result = device.shell(command, timeout_s=_VERSION_S)
    if result.exit_code == 0:
        return judge_version(result.text)
    cause = find_cause(result.stderr, result.exit_code)
    return warning(
        "pushed runner",
        f"`{command}` exited {result.exit_code}: {first_line(result.stderr) or 'it says nothing'}",
        next_step_for(cause, "Run `mobilesplit push` again."),
    )


def judge_version(text: str) -> Finding:
    """What the runner says of itself; one of another ExecuTorch may not read our programs."""
    try:
        told = json.loads(text)
        version, built_of = str(told["version"]), str(told["executorch"])
    except (ValueError, KeyError, TypeError):
        return warning(
            "pushed runner", "it does not tell its version", "Run `mobilesplit push` again."
        )
    says = f"{version}, of ExecuTorch {built_of}"
    if built_of.partition("+")[0] != executorch_version():
        return warning(
            "pushed runner", f"{says}; {executorch_version()} is here", NEXT_STEPS["newer_program"]
        )
    return ok("pushed runner", says)


def _energy(device: Device) -> Iterator[Finding]:
    sources = find_sources(device)
    readable = [source for source in sources if isinstance(source, Available)]
    if not readable:
        reasons = "; ".join(
            f"{source.name}: {source.why}"
            for source in sources
            if not isinstance(source, Available)
        )
        yield warning(
            "energy", f"no source can be read ({reasons})", "Latency is measured all the same."
        )
    else:
        yield ok("energy", ", ".join(source.name for source in readable) + " can be read")
