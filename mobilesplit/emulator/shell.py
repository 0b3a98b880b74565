"""Runs parsed command lines on a phone: pipelines, redirections, built-in commands, programs.

Rule: a name is a command of our own table or a file inside the phone's root, nothing else.
"""

from __future__ import annotations

import asyncio
import fnmatch
import os
import posixpath
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from mobilesplit.emulator.byte_streams import ByteSink, ByteSource, Empty, ExactReader, Pipe
from mobilesplit.emulator.conversation import converse
from mobilesplit.emulator.filesystem import PhoneFilesystem
from mobilesplit.emulator.phone import VirtualPhone
from mobilesplit.emulator.programs import NotAllowedError
from mobilesplit.emulator.shell_language import (
    Pipeline,
    ShellSyntaxError,
    SimpleCommand,
    Word,
    expand,
    is_pattern,
    parse,
)

_SHELL = "/system/bin/sh"
MAX_LINE_CHARS = 64 * 1024
_COPY_NBYTES = 256 * 1024
_IN_THE_SHELL = frozenset(
    {"echo", "pwd", "cd", "test", "[", "read", "trap", "exit", "exec", "kill"}
)
"""Commands that are no processes of their own in Android's sh (mksh)."""


class ShellExit(Exception):
    """``exit`` was called."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class ShellState:
    """What one shell remembers between commands."""

    cwd: str = "/"
    variables: dict[str, str] = field(default_factory=dict)
    status: int = 0
    ignored_signals: set[str] = field(default_factory=set)
    """By ``trap ''``, without their SIG: with HUP it outlives its host's connection."""

    def parameters(self) -> dict[str, str]:
        """What ``$NAME`` may refer to."""
        return {**self.variables, "PWD": self.cwd, "?": str(self.status), "$": "3000"}


@dataclass
class Invocation:
    """One command being run."""

    phone: VirtualPhone
    shell: Shell
    state: ShellState
    arguments: list[str]
    stdin: ByteSource
    stdout: ByteSink
    stderr: ByteSink

    async def say(self, text: str) -> None:
        """Write a line to stdout."""
        await self.stdout.write(f"{text}\n".encode(errors="surrogateescape"))

    async def complain(self, text: str) -> None:
        """Write a line to stderr."""
        await self.stderr.write(f"{text}\n".encode(errors="surrogateescape"))


BuiltIn = Callable[[Invocation], Awaitable[int]]


class FileSink:
    """A redirection to a file, or a copy to one."""

    def __init__(self, file: BinaryIO, path: str, files: PhoneFilesystem) -> None:
        self._file = file
        self._path = path
        self._files = files

    async def write(self, data: bytes) -> None:
        self._files.require_space(len(data), self._path)
        self._file.write(data)
        self._file.flush()


class FileSource:
    """A redirection from a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def read(self) -> bytes:
        return self._file.read(_COPY_NBYTES)


class Shell:
    """One shell on a phone; ``run`` may be called again and remembers ``cd`` and variables."""

    def __init__(self, phone: VirtualPhone, built_ins: dict[str, BuiltIn]) -> None:
        self._phone = phone
        self._built_ins = built_ins
        self.state = ShellState()

    def child(self, state: ShellState) -> Shell:
        """A shell that this one starts."""
        shell = Shell(self._phone, self._built_ins)
        shell.state = state
        return shell

    async def run(self, line: str, stdin: ByteSource, stdout: ByteSink, stderr: ByteSink) -> int:
        """Run a command line; its exit code. Raises ShellExit for ``exit``."""
        # One reader for the whole line: what `read` leaves over is the next command's.
        reader = stdin if isinstance(stdin, ExactReader) else ExactReader(stdin)
        invocation = Invocation(self._phone, self, self.state, [], reader, stdout, stderr)
        try:
            if len(line) > MAX_LINE_CHARS:
                raise ShellSyntaxError(f"longer than {MAX_LINE_CHARS} characters")
            pipelines = parse(line)
        except ShellSyntaxError as error:
            await invocation.complain(f"{_SHELL}: syntax error: {error}")
            self.state.status = 2
            return 2
        for pipeline in pipelines:
            wanted = {"&&": self.state.status == 0, "||": self.state.status != 0}
            if wanted.get(pipeline.after, True):
                self.state.status = await self._pipeline(pipeline, invocation)
        return self.state.status

    async def _pipeline(self, pipeline: Pipeline, around: Invocation) -> int:
        if len(pipeline.commands) == 1:
            return await self._simple(pipeline.commands[0], around)
        # As in every shell, each part is a subshell: `cd` in one of them does not stay.
        pipes = [Pipe() for _ in pipeline.commands[1:]]
        sources: list[ByteSource] = [around.stdin, *pipes]
        sinks: list[ByteSink] = [*pipes, around.stdout]
        runs = [
            asyncio.create_task(
                self._part(
                    command,
                    replace(
                        around,
                        state=replace(
                            self.state,
                            variables=dict(self.state.variables),
                            ignored_signals=set(self.state.ignored_signals),
                        ),
                        stdin=source,
                        stdout=sink,
                    ),
                )
            )
            for command, source, sink in zip(pipeline.commands, sources, sinks, strict=True)
        ]
        try:
            return (await asyncio.gather(*runs))[-1]
        finally:
            for run in runs:
                run.cancel()
            # Their programs must be dead before anybody says that this pipeline has ended.
            await asyncio.gather(*runs, return_exceptions=True)

    async def _part(self, command: SimpleCommand, invocation: Invocation) -> int:
        try:
            return await self._simple(command, invocation)
        except ShellExit as leaving:
            return leaving.code
        except BrokenPipeError:
            return 0x80 | signal.SIGPIPE
        finally:
            if isinstance(invocation.stdout, Pipe):
                invocation.stdout.end()
            if isinstance(invocation.stdin, Pipe):
                invocation.stdin.abandon()

    async def _simple(self, command: SimpleCommand, around: Invocation) -> int:
        state = around.state
        opened: list[BinaryIO] = []
        invocation = replace(around)
        try:
            try:
                self._redirect(command, invocation, opened)
            except OSError as error:
                await around.complain(f"{_SHELL}: can't open {error.filename}: {error.strerror}")
                return 1
            assigned = {
                name: " ".join(expand(value, state.parameters()))
                for name, value in command.assignments
            }
            words = [text for word in command.words for text in self._fields(word, state)]
            if not words:
                state.variables.update(assigned)
                return 0
            invocation.arguments = words
            return await self.execute(invocation)
        finally:
            for file in opened:
                file.close()

    def _redirect(
        self, command: SimpleCommand, invocation: Invocation, opened: list[BinaryIO]
    ) -> None:
        """Point the invocation's streams elsewhere, left to right. Raises OSError."""
        state, files = invocation.state, self._phone.filesystem
        for redirection in command.redirections:
            target = " ".join(expand(redirection.target, state.parameters()))
            if redirection.how == "<":
                source = files.open_read(target, state.cwd)
                opened.append(source)
                invocation.stdin = FileSource(source)
                continue
            sink: ByteSink
            if redirection.how == ">&":
                if target not in ("1", "2"):
                    raise OSError(9, "bad file descriptor", target)
                sink = invocation.stdout if target == "1" else invocation.stderr
            elif target == "/dev/null":
                sink = Empty()
            else:
                file = files.open_write(target, state.cwd, append=redirection.how == ">>")
                opened.append(file)
                sink = FileSink(file, target, files)
            if redirection.descriptor == 2:
                invocation.stderr = sink
            else:
                invocation.stdout = sink

    def _fields(self, word: Word, state: ShellState) -> list[str]:
        fields = expand(word, state.parameters())
        if not is_pattern(word):
            return fields
        return [path for text in fields for path in self._matches(text, state.cwd)]

    def _matches(self, pattern: str, cwd: str) -> list[str]:
        """Paths that a pattern stands for; the pattern itself when there are none."""
        found = ["/" if pattern.startswith("/") else ""]
        for piece in pattern.strip("/").split("/"):
            deeper = []
            for folder in found:
                try:
                    names = self._phone.filesystem.names(folder or ".", cwd)
                except OSError:
                    continue
                deeper += [
                    posixpath.join(folder, name)
                    for name in names
                    if fnmatch.fnmatchcase(name, piece)
                    and (piece.startswith(".") or not name.startswith("."))
                ]
            found = deeper
        return found or [pattern]

    async def execute(self, invocation: Invocation) -> int:
        """Run what ``invocation.arguments`` name; its exit code."""
        name = invocation.arguments[0]
        bare = name.removeprefix("/system/bin/")
        built_in = self._built_ins.get(bare)
        if built_in is not None:
            try:
                return await built_in(invocation)
            except BrokenPipeError:
                # A write to a host that has gone ends a command, and the shell if it is part of it.
                if "PIPE" in invocation.state.ignored_signals:
                    return 1
                if bare in _IN_THE_SHELL:
                    raise
                return 0x80 | signal.SIGPIPE
            except OSError as error:
                await invocation.complain(f"{bare}: {error.filename}: {error.strerror}")
                return 1
        if "/" not in name:
            await invocation.complain(f"{_SHELL}: {name}: inaccessible or not found")
            return 127
        return await self._program(invocation)

    async def _program(self, invocation: Invocation) -> int:
        name, programs = invocation.arguments[0], self._phone.programs
        cwd = invocation.state.cwd
        if self._phone.faults.wrong_abi:
            await invocation.complain(f"{_SHELL}: {name}: not executable: 64-bit ELF file")
            return 126
        try:
            argv = await programs.host_argv(name, invocation.arguments[1:], cwd)
            program = programs.start(name, argv, cwd)
        except FileNotFoundError:
            await invocation.complain(f"{_SHELL}: {name}: inaccessible or not found")
            return 127
        except OSError as error:
            await invocation.complain(
                f"{_SHELL}: {name}: can't execute: {error.strerror or os.strerror(13)}"
            )
            return 126
        except NotAllowedError as error:
            await invocation.complain(f"{_SHELL}: {error}")
            return 126
        return await converse(
            programs,
            program,
            stdin=invocation.stdin,
            stdout=invocation.stdout,
            stderr=invocation.stderr,
        )


def usage_error(text: str) -> OSError:
    """A command was called wrongly; it is reported as the shell's other errors are."""
    return OSError(22, text, "usage")
