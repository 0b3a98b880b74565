"""Built-in commands about the system, its properties, processes and time; and the table of all.

Rule: an output keeps Android's own format as far as clients parse it; what the virtual phone
does not know is an error, never an invented answer.
"""

from __future__ import annotations

import asyncio
import posixpath
import signal
import time

from mobilesplit.emulator.file_commands import FILE_COMMANDS
from mobilesplit.emulator.shell import BuiltIn, Invocation, usage_error
from mobilesplit.emulator.shell_commands import SHELL_COMMANDS
from mobilesplit.emulator.state_commands import STATE_COMMANDS


async def getprop(call: Invocation) -> int:
    properties, names = call.phone.properties, call.arguments[1:]
    if not names:
        for name, value in sorted(properties.items()):
            await call.say(f"[{name}]: [{value}]")
        return 0
    default = names[1] if len(names) > 1 else ""
    await call.say(properties.get(names[0], default))
    return 0


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


async def date(call: Invocation) -> int:
    forms = {"+%s": str(int(time.time())), "+%s%3N": str(int(time.time() * 1000))}
    words = call.arguments[1:] or ["+%a %b %e %H:%M:%S UTC %Y"]
    if len(words) != 1 or not words[0].startswith("+"):
        raise usage_error("date [+FORMAT]")
    await call.say(forms.get(words[0]) or time.strftime(words[0][1:], time.gmtime()))
    return 0


COMMANDS: dict[str, BuiltIn] = {
    **FILE_COMMANDS, **SHELL_COMMANDS, **STATE_COMMANDS,
    "getprop": getprop, "id": identity, "uname": uname, "nproc": nproc, "ps": ps,
    "pidof": pidof, "kill": kill, "sleep": sleep, "date": date,
}  # fmt: skip
