"""Programs that the phone may run, and the ones it is running.

Rule: what was pushed is never executed. A file whose sha256 is in the allow list stands for the
host's own argument vector; its arguments cannot name a path outside the phone's root, and
nothing of the phone's environment reaches it (an LD_PRELOAD would be a way out).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mobilesplit.emulator.cpu_time import cpu_time_s
from mobilesplit.emulator.filesystem import PhoneFilesystem, failure

AllowedPrograms = dict[str, list[str]]
"""From the sha256 of a program to the host's argument vector that stands for it."""

_HOST_PIPE_NBYTES = 1024 * 1024
_FIRST_PHONE_PID = 4000
_DIGEST_NBYTES = 1024 * 1024
_KILLER_POLL_S = 0.005
_CORE_MASK = "--core-mask"
"""The runner's option for the cores that it keeps to."""
RUN_COUNTER_FILE = "inferences"
SLOWDOWN_FILE = "slowdown"


class NotAllowedError(Exception):
    """The phone refuses to execute this; the text goes to stderr, with exit code 126."""


@dataclass
class RunningProgram:
    """A live program: ``pid`` is the phone's number for it, ``popen`` the host's process."""

    pid: int
    name: str
    popen: subprocess.Popen[bytes]
    finished: asyncio.Future[int]
    killer: asyncio.Task[None] | None = None
    """What will kill it, by a fault."""


class Programs:
    """Starts, counts and kills the phone's programs."""

    def __init__(
        self,
        filesystem: PhoneFilesystem,
        *,
        allowed: AllowedPrograms,
        inference_slowdown: float,
        state: Path,
    ) -> None:
        self._filesystem = filesystem
        self._allowed = allowed
        self._slowdown = inference_slowdown
        self._home = state
        self._run_counter = state / RUN_COUNTER_FILE
        self._slowdown_file = state / SLOWDOWN_FILE
        self._finished_cpu_s = 0.0
        self._live_cpu_s: dict[int, float] = {}
        self._last_pid = _FIRST_PHONE_PID
        self.live: dict[int, RunningProgram] = {}
        self.starts = 0
        self.on_change: Callable[[], None] = lambda: None
        """Called after each start and end."""
        self.take_kill_after: Callable[[], int | None] = lambda: None
        """Asked at each start: after how many inferences to kill it; None leaves it alone."""
        self._run_counter.touch(mode=0o600)
        self.set_slowdown_factor(1.0)

    @property
    def inferences(self) -> int:
        """One byte each in the counter file, appended by the runner."""
        return self._run_counter.stat().st_size

    def set_slowdown_factor(self, factor: float) -> None:
        """What the declared slow-down is multiplied by, for running programs too."""
        part = self._slowdown_file.with_suffix(".part")
        part.write_text(f"{self._slowdown * factor!r}\n")
        part.replace(self._slowdown_file)

    def cpu_s(self) -> float:
        """Host CPU time of all programs so far, live and finished; never falls."""
        for pid, program in self.live.items():
            now_s = cpu_time_s(program.popen.pid)
            if now_s is not None:
                self._live_cpu_s[pid] = max(self._live_cpu_s.get(pid, 0.0), now_s)
        return self._finished_cpu_s + sum(self._live_cpu_s.values())

    async def host_argv(self, path: str, arguments: list[str], cwd: str) -> list[str]:
        """What the host runs for ``path arguments`` in ``cwd``.

        Raises:
            OSError: no such file, or not executable.
            NotAllowedError: not in the allow list, or an argument leaves the phone.
        """
        status = self._filesystem.status(path, cwd)
        if status.is_folder or not status.mode & 0o111:
            raise failure(errno.EACCES, path)
        digest = await asyncio.to_thread(self._digest, path, cwd)
        prefix = self._allowed.get(digest)
        if prefix is None:
            raise NotAllowedError(
                f"{path}: not in this virtual phone's allow list (sha256 {digest}); it runs "
                "only programs that the host named at its start"
            )
        translated = [self._translate(argument, cwd) for argument in arguments]
        for index, argument in enumerate(translated[:-1]):
            if argument == _CORE_MASK:
                translated[index + 1] = _host_mask(translated[index + 1])
        return [*prefix, *translated]

    def start(self, name: str, host_argv: list[str], cwd: str) -> RunningProgram:
        """Start it with three pipes, as the leader of its own process group."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            # Not the phone's: Python takes code from ~/.local of whoever runs it.
            "HOME": str(self._home),
            "MOBILESPLIT_SLOWDOWN": repr(self._slowdown),
            "MOBILESPLIT_SLOWDOWN_FILE": str(self._slowdown_file),
            "MOBILESPLIT_RUN_COUNTER": str(self._run_counter),
        }
        popen = subprocess.Popen(
            host_argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=self._filesystem.host_path(cwd),
            env=environment,
            start_new_session=True,
        )
        for pipe in (popen.stdin, popen.stdout):
            # A boundary of a few hundred kilobytes then passes in one piece. Over the
            # user's pipe quota the default stays, which is only slower.
            assert pipe is not None
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _HOST_PIPE_NBYTES)
        self._last_pid += 1
        self.starts += 1
        program = RunningProgram(
            self._last_pid, name, popen, asyncio.get_running_loop().create_future()
        )
        self.live[program.pid] = program
        self._watch(program)
        if (num_inferences := self.take_kill_after()) is not None:
            program.killer = asyncio.create_task(self._kill_after(program, num_inferences))
        self.on_change()
        return program

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a live program's group. Raises OSError (ESRCH) for no such pid."""
        program = self.live.get(pid)
        if program is None:
            raise failure(errno.ESRCH, str(pid))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.popen.pid, number)

    async def _kill_after(self, program: RunningProgram, num_inferences: int) -> None:
        last = self.inferences + num_inferences
        while program.pid in self.live and self.inferences < last:
            await asyncio.sleep(_KILLER_POLL_S)
        if program.pid in self.live:
            self.signal(program.pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """For the phone's end."""
        for pid in list(self.live):
            self.signal(pid, signal.SIGKILL)

    def _digest(self, path: str, cwd: str) -> str:
        with self._filesystem.open_read(path, cwd) as file:
            return sha256_of(file)

    def _translate(self, argument: str, cwd: str) -> str:
        """A phone path as the host's: ``/x``, ``a/../b`` and what follows ``--option=``."""
        option, equals, value = argument.partition("=")
        if argument.startswith("-"):
            if "/" in option:
                raise NotAllowedError(f"{argument}: write a path as an argument of its own")
            if not equals:
                return argument
        else:
            option, equals, value = "", "", argument
        if value.startswith("/") or "/" in value or value in ("..", "."):
            try:
                value = str(self._filesystem.host_path(value, cwd))
            except OSError as error:
                raise NotAllowedError(f"{argument}: {error.strerror}") from None
        return option + equals + value

    def _watch(self, program: RunningProgram) -> None:
        """Settle ``finished`` when the process ends.

        A thread waits without reaping; the loop then reaps, so no signal of ours can ever
        meet a number that the kernel has already given to somebody else.
        """
        loop = asyncio.get_running_loop()

        def reap() -> None:
            # Grandchildren go with their leader, while its number still stands for the group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(program.popen.pid, signal.SIGKILL)
            _, status, usage = os.wait4(program.popen.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            program.popen.returncode = code
            last_s = self._live_cpu_s.pop(program.pid, 0.0)
            self._finished_cpu_s += max(last_s, usage.ru_utime + usage.ru_stime)
            del self.live[program.pid]
            if not program.finished.done():
                program.finished.set_result(code if code >= 0 else 0x80 | -code)
            self.on_change()

        def wait() -> None:
            os.waitid(os.P_PID, program.popen.pid, os.WEXITED | os.WNOWAIT)
            with contextlib.suppress(RuntimeError):  # the loop is closed: the phone is gone
                loop.call_soon_threadsafe(reap)

        threading.Thread(target=wait, name=f"wait-{program.pid}", daemon=True).start()


def _host_mask(mask: str) -> str:
    """As many of the host's cores as the mask has of the phone's, which may have more."""
    try:
        num_cores = int(mask, 16).bit_count()
    except ValueError:
        return mask  # for the runner to complain of
    return f"{sum(1 << core for core in sorted(os.sched_getaffinity(0))[:num_cores]):x}"


def sha256_of(file: BinaryIO) -> str:
    """Hex digest of what is left of a file."""
    digest = hashlib.sha256()
    while piece := file.read(_DIGEST_NBYTES):
        digest.update(piece)
    return digest.hexdigest()
