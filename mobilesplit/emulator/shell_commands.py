"""Built-in commands of the shell itself: what on Android runs inside ``sh``, and ``sh``.

Rule: a signal that ``trap ''`` ignores stays ignored in the shells that this one starts, as
POSIX says (sh, "Signals and Error Handling").
"""

from __future__ import annotations

from dataclasses import replace

from mobilesplit.emulator.byte_streams import ExactReader
from mobilesplit.emulator.shell import (
    MAX_LINE_CHARS,
    BuiltIn,
    Invocation,
    Shell,
    ShellExit,
    ShellState,
    usage_error,
)

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
_SIGNALS = ("HUP", "INT", "PIPE", "QUIT", "TERM")


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


async def exec_(call: Invocation) -> int:
    """The command takes the shell's place: its exit code is the shell's, and nothing follows."""
    if len(call.arguments) < 2:
        raise usage_error("exec COMMAND... on the virtual phone")
    raise ShellExit(await call.shell.execute(replace(call, arguments=call.arguments[1:])))


async def trap(call: Invocation) -> int:
    words = call.arguments[1:]
    if len(words) < 2 or words[0] not in ("", "-"):
        raise usage_error("trap '' SIGNAL... or trap - SIGNAL... on the virtual phone")
    names = {word.removeprefix("SIG") for word in words[1:]}
    if unknown := sorted(names.difference(_SIGNALS)):
        raise usage_error(f"trap: bad signal {unknown[0]!r}; known: {', '.join(_SIGNALS)}")
    if words[0] == "":
        call.state.ignored_signals |= names
    else:
        call.state.ignored_signals -= names
    return 0


async def read(call: Invocation) -> int:
    names = [word for word in call.arguments[1:] if word != "-r"] or ["REPLY"]
    if not all(name.isidentifier() for name in names):
        raise usage_error("read [-r] NAME...")
    source = call.stdin if isinstance(call.stdin, ExactReader) else ExactReader(call.stdin)
    line = await source.line(MAX_LINE_CHARS)
    fields = line.decode(errors="surrogateescape").strip().split(maxsplit=len(names) - 1)
    call.state.variables.update(dict.fromkeys(names, ""))
    call.state.variables.update(zip(names, fields, strict=False))
    return 0 if line.endswith(b"\n") else 1


async def sh(call: Invocation) -> int:
    """``sh FILE``, ``sh -c LINE``, or ``sh`` with its lines on stdin; always our own shell."""
    words = call.arguments[1:]
    if len(words) > (2 if words[:1] == ["-c"] else 1):
        raise usage_error("sh [FILE] or sh -c LINE on the virtual phone")
    state = ShellState(cwd=call.state.cwd, ignored_signals=set(call.state.ignored_signals))
    shell = call.shell.child(state)
    if not words:
        return await run_lines(shell, call)
    if words[0] == "-c":
        text = words[1] if len(words) == 2 else ""
    else:
        with call.phone.filesystem.open_read(words[0], call.state.cwd) as file:
            text = file.read(MAX_LINE_CHARS + 1).decode(errors="surrogateescape")
    try:
        return await shell.run(text, call.stdin, call.stdout, call.stderr)
    except ShellExit as leaving:
        return leaving.code


async def run_lines(shell: Shell, streams: Invocation) -> int:
    """A shell without a command: what comes on stdin, line by line; the last exit code."""
    lines = ExactReader(streams.stdin)
    try:
        while data := await lines.line(MAX_LINE_CHARS):
            text = data.decode(errors="surrogateescape")
            await shell.run(text, lines, streams.stdout, streams.stderr)
    except ShellExit as leaving:
        return leaving.code
    return shell.state.status


async def taskset(call: Invocation) -> int:
    """Checks the mask against the declared cores; the program itself runs where the host likes."""
    words = call.arguments[1:]
    try:
        mask = int(words[0], 16)
    except (IndexError, ValueError):
        raise usage_error("taskset MASK COMMAND...") from None
    if len(words) < 2:
        raise usage_error("taskset MASK COMMAND...")
    if not mask & ((1 << call.phone.description.cores) - 1):
        await call.complain(f"taskset: failed to set {words[0]}: Invalid argument")
        return 1
    return await call.shell.execute(replace(call, arguments=words[1:]))


SHELL_COMMANDS: dict[str, BuiltIn] = {
    "echo": echo, "true": true, "false": false, ":": true, "exit": exit_, "exec": exec_,
    "trap": trap, "read": read, "sh": sh, "taskset": taskset,
}  # fmt: skip
