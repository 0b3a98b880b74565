"""Built-in commands about files. Rule: every path goes through the phone's filesystem."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import posixpath
import stat
import time
from collections.abc import AsyncIterator

from mobilesplit.emulator.byte_streams import ByteSource, ExactReader
from mobilesplit.emulator.filesystem import FileStatus, failure
from mobilesplit.emulator.programs import sha256_of
from mobilesplit.emulator.shell import (
    MAX_LINE_CHARS,
    BuiltIn,
    FileSink,
    FileSource,
    Invocation,
    usage_error,
)


def split_options(arguments: list[str], known: str) -> tuple[set[str], list[str]]:
    """Single-letter options and the rest. Raises OSError (shown as usage) for an unknown one."""
    options: set[str] = set()
    rest = list(arguments)
    while rest and rest[0].startswith("-") and len(rest[0]) > 1:
        word = rest.pop(0)
        if word == "--":
            break
        for letter in word[1:]:
            if letter not in known:
                raise usage_error(f"unknown option -{letter}")
            options.add(letter)
    return options, rest


async def each_path(call: Invocation, paths: list[str], action: str) -> int:
    """1 with a complaint when there are no paths."""
    if paths:
        return 0
    await call.complain(f"{call.arguments[0]}: {action} what?")
    return 1


async def _complain_of(call: Invocation, error: OSError) -> int:
    await call.complain(f"{call.arguments[0]}: {error.filename}: {error.strerror}")
    return 1


async def cat(call: Invocation) -> int:
    code = 0
    for path in call.arguments[1:] or ["-"]:
        if path == "-":
            await _copy(call.stdin, call)
            continue
        try:
            with call.phone.filesystem.open_read(path, call.state.cwd) as file:
                await _copy(FileSource(file), call)
        except BrokenPipeError:
            raise
        except OSError as error:
            code = await _complain_of(call, error)
    return code


async def _copy(source: ByteSource, call: Invocation) -> None:
    while data := await source.read():
        await call.stdout.write(data)


async def ls(call: Invocation) -> int:
    options, paths = split_options(call.arguments[1:], "la1d")
    files, code = call.phone.filesystem, 0
    for path in paths or ["."]:
        try:
            status = files.status(path, call.state.cwd)
            if not status.is_folder or "d" in options:
                await call.say(_listed(path, status, options))
                continue
            names = files.names(path, call.state.cwd)
            if "a" not in options:
                names = [name for name in names if not name.startswith(".")]
            if len(paths) > 1:
                await call.say(f"{path}:")
            for name in names:
                entry = files.status(posixpath.join(path, name), call.state.cwd)
                await call.say(_listed(name, entry, options))
        except BrokenPipeError:
            raise
        except OSError as error:
            code = await _complain_of(call, error)
    return code


def _listed(name: str, status: FileStatus, options: set[str]) -> str:
    if "l" not in options:
        return name
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(status.mtime_s))
    mode = stat.filemode(status.mode)
    return f"{mode} {status.nlink} shell shell {status.size:>10} {when} {name}"


async def stat_(call: Invocation) -> int:
    arguments = call.arguments[1:]
    form = None
    if arguments[:1] == ["-c"]:
        if len(arguments) < 2:
            raise usage_error("stat [-c FORMAT] FILE...")
        form, arguments = arguments[1], arguments[2:]
    code = await each_path(call, arguments, "stat")
    for path in arguments:
        try:
            found = call.phone.filesystem.status(path, call.state.cwd)
        except OSError as error:
            code = await _complain_of(call, error)
            continue
        if form is None:
            await call.say(
                f"  File: {path}\n  Size: {found.size}\t Access: "
                f"(0{found.mode & 0o777:o}/{stat.filemode(found.mode)})\t Modify: {found.mtime_s}"
            )
            continue
        values = {
            "%s": str(found.size),
            "%n": path,
            "%a": f"{found.mode & 0o777:o}",
            "%A": stat.filemode(found.mode),
            "%Y": str(found.mtime_s),
            "%f": f"{found.mode:x}",
        }
        for key, value in values.items():
            form = form.replace(key, value)
        await call.say(form)
    return code


async def mkdir(call: Invocation) -> int:
    options, paths = split_options(call.arguments[1:], "p")
    code = await each_path(call, paths, "make")
    for path in paths:
        try:
            call.phone.filesystem.make_folder(path, call.state.cwd, parents="p" in options)
        except OSError as error:
            code = await _complain_of(call, error)
    return code


async def rm(call: Invocation) -> int:
    options, paths = split_options(call.arguments[1:], "rRf")
    code = 0 if "f" in options else await each_path(call, paths, "remove")
    for path in paths:
        try:
            _remove(call, path, recursive=bool(options & {"r", "R"}))
        except FileNotFoundError as error:
            if "f" not in options:
                code = await _complain_of(call, error)
        except OSError as error:
            code = await _complain_of(call, error)
    return code


def _remove(call: Invocation, path: str, *, recursive: bool) -> None:
    files, cwd = call.phone.filesystem, call.state.cwd
    if files.status(path, cwd).is_folder:
        if not recursive:
            raise failure(21, path)  # EISDIR
        files.writable(path, cwd)
        for name in files.names(path, cwd):
            _remove(call, posixpath.join(path, name), recursive=True)
    files.remove(path, cwd)


async def chmod(call: Invocation) -> int:
    rest = call.arguments[1:]
    if len(rest) < 2:
        raise usage_error("chmod MODE FILE... with MODE as 755 or +x")
    symbolic, code = {"+x": 0o111, "a+x": 0o111, "u+x": 0o100, "+r": 0o444, "+w": 0o222}, 0
    for path in rest[1:]:
        try:
            if rest[0] in symbolic:
                old = call.phone.filesystem.status(path, call.state.cwd).mode
                mode = old | symbolic[rest[0]]
            else:
                mode = int(rest[0], 8)
            call.phone.filesystem.change_mode(path, mode, call.state.cwd)
        except ValueError:
            raise usage_error(f"mode {rest[0]!r} is not supported") from None
        except OSError as error:
            code = await _complain_of(call, error)
    return code


async def mv(call: Invocation) -> int:
    _, paths = split_options(call.arguments[1:], "f")
    if len(paths) < 2:
        raise usage_error("mv FILE... TARGET")
    files, cwd, target = call.phone.filesystem, call.state.cwd, paths[-1]
    try:
        into = files.status(target, cwd).is_folder
    except OSError:
        into = False
    if len(paths) > 2 and not into:
        raise failure(20, target)  # ENOTDIR
    for path in paths[:-1]:
        name = posixpath.basename(path.rstrip("/"))
        files.rename(path, posixpath.join(target, name) if into else target, cwd)
    return 0


async def sha256sum(call: Invocation) -> int:
    code = 0
    for path in call.arguments[1:] or ["-"]:
        digest = hashlib.sha256()
        if path == "-":
            while data := await call.stdin.read():
                digest.update(data)
            await call.say(f"{digest.hexdigest()}  -")
            continue
        try:
            with call.phone.filesystem.open_read(path, call.state.cwd) as file:
                found = await asyncio.to_thread(sha256_of, file)
        except OSError as error:
            code = await _complain_of(call, error)
            continue
        await call.say(f"{found}  {path}")
    return code


async def cd(call: Invocation) -> int:
    target = call.arguments[1] if len(call.arguments) > 1 else "/"
    if not call.phone.filesystem.status(target, call.state.cwd).is_folder:
        raise failure(20, target)  # ENOTDIR
    call.state.cwd = call.phone.filesystem.absolute(target, call.state.cwd)
    return 0


async def pwd(call: Invocation) -> int:
    await call.say(call.state.cwd)
    return 0


async def test(call: Invocation) -> int:
    words = call.arguments[1:]
    if call.arguments[0] == "[":
        if words[-1:] != ["]"]:
            raise usage_error("[ needs a closing ]")
        words = words[:-1]
    negated = words[:1] == ["!"]
    return int(_holds(call, words[1:] if negated else words) == negated)


def _holds(call: Invocation, words: list[str]) -> bool:
    if len(words) == 1:
        return words[0] != ""
    if len(words) == 3 and words[1] in ("=", "!="):
        return (words[0] == words[2]) == (words[1] == "=")
    if len(words) != 2 or words[0] not in ("-e", "-f", "-d", "-x", "-s", "-n", "-z"):
        raise usage_error("test [!] -e|-f|-d|-x|-s PATH, -n|-z TEXT, A = B, A != B")
    flag, value = words
    if flag in ("-n", "-z"):
        return (value == "") == (flag == "-z")
    try:
        found = call.phone.filesystem.status(value, call.state.cwd)
    except OSError:
        return False
    return {
        "-e": True,
        "-f": stat.S_ISREG(found.mode),
        "-d": found.is_folder,
        "-x": bool(found.mode & 0o111),
        "-s": found.size > 0,
    }[flag]


async def df(call: Invocation) -> int:
    """Declared figures: the host's disk is none of the client's business."""
    options, _ = split_options(call.arguments[1:], "k")
    del options  # kibibytes are toybox's own unit
    size_kib = 16 * 1024 * 1024
    free_nbytes = call.phone.filesystem.free_nbytes()
    free_kib = size_kib // 2 if free_nbytes is None else free_nbytes // 1024
    used_kib = size_kib - free_kib
    row = f"{size_kib:>9} {used_kib:>9} {free_kib:>9} {100 * used_kib // size_kib:>3}% /data"
    await call.say("Filesystem     1K-blocks      Used Available Use% Mounted on")
    await call.say(f"/dev/block/dm-0 {row}")
    return 0


async def wc(call: Invocation) -> int:
    options, paths = split_options(call.arguments[1:], "cl")
    if len(options) != 1 or len(paths) > 1:
        raise usage_error("wc -c|-l [FILE]")
    count = 0
    async with _input(call, paths) as source:
        while data := await source.read():
            count += len(data) if "c" in options else data.count(b"\n")
    await call.say(" ".join([str(count), *paths]))
    return 0


async def head(call: Invocation) -> int:
    words = call.arguments[1:]
    unit, text = "-n", "10"
    if words[:1] in (["-c"], ["-n"]) and len(words) > 1:
        unit, text, *words = words
    if not text.isdecimal() or len(words) > 1:
        raise usage_error("head [-c BYTES | -n LINES] [FILE]")
    left = int(text)
    async with _input(call, words) as source:
        while left:
            data = await (source.line(MAX_LINE_CHARS) if unit == "-n" else source.some(left))
            if not data:
                break
            left -= 1 if unit == "-n" else len(data)
            await call.stdout.write(bytes(data))
    return 0


@contextlib.asynccontextmanager
async def _input(call: Invocation, paths: list[str]) -> AsyncIterator[ExactReader]:
    """The file, or stdin where no path is given."""
    if not paths:
        yield ExactReader(call.stdin)
        return
    with call.phone.filesystem.open_read(paths[0], call.state.cwd) as file:
        yield ExactReader(FileSource(file))


async def cp(call: Invocation) -> int:
    _, paths = split_options(call.arguments[1:], "fp")
    if len(paths) != 2:
        raise usage_error("cp FILE TARGET")
    files, cwd, (source, target) = call.phone.filesystem, call.state.cwd, paths
    status = files.status(source, cwd)
    with contextlib.suppress(FileNotFoundError):
        if files.status(target, cwd).is_folder:
            target = posixpath.join(target, posixpath.basename(source))
    with files.open_read(source, cwd) as old, files.open_write(target, cwd) as new:
        sink = FileSink(new, target, files)
        while data := await FileSource(old).read():
            await sink.write(data)
    files.change_mode(target, status.mode, cwd)
    return 0


FILE_COMMANDS: dict[str, BuiltIn] = {
    "cat": cat, "ls": ls, "stat": stat_, "mkdir": mkdir, "rm": rm, "chmod": chmod, "mv": mv,
    "sha256sum": sha256sum, "cd": cd, "pwd": pwd, "test": test, "[": test, "df": df,
    "wc": wc, "head": head, "cp": cp,
}  # fmt: skip
