"""Lowering in several processes: it is Python through and through, so threads would not help.

The rule: what goes to a worker and comes back lies in files of a private folder, so that nothing
waits in memory; leaving ends the workers and deletes the folder, whatever is under way.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Self

import torch
from torch.export import ExportedProgram

from mobilesplit.core.errors import ModelError, first_line
from mobilesplit.export.lowered import Lowered, unpack
from mobilesplit.export.settings import Backend

_OPERATORS_PER_PROCESS = 100
"""A worker with less to lower would take longer to start than to work."""

Fetch = Callable[[], Lowered]
"""Reads what a worker has lowered, and deletes its file."""


def num_workers(num_operators: int, jobs: int | None) -> int:
    """How many workers are worth starting beside this process, which lowers too.

    Args:
        jobs: most processes in all; None is one a core.
    """
    processes = min(jobs or os.cpu_count() or 1, num_operators // _OPERATORS_PER_PROCESS)
    return max(0, processes - 1)


def cannot_be_lowered(said: str) -> ModelError:
    """The error for what executorch said of a model, of which the first line is kept."""
    return ModelError(
        f"The model cannot be lowered: {first_line(said) or 'no reason was given'}.",
        next_step="Try --backend portable.",
    )


@dataclass(frozen=True)
class _Task:
    future: Future[Fetch]
    request: dict[str, Any]


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[str]
    stderr: IO[bytes]


class Workers:
    """Processes that lower programs; entering starts them, leaving ends them at once.

    Starting does not wait for them: they import torch while this process goes on. Each has a
    thread here that hands it one task after the other.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        """How many there are; 0: whoever needs something lowered does it itself."""
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._submitted: list[_Task] = []
        self._workers: list[_Worker] = []
        self._threads: list[threading.Thread] = []
        self._left = 0
        self._lock = threading.Lock()
        self._exit = ExitStack()

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [worker.process.pid for worker in self._workers]

    def __enter__(self) -> Self:
        with ExitStack() as started:  # undone if not all of them start
            folder = tempfile.TemporaryDirectory(prefix="mobilesplit-", ignore_cleanup_errors=True)
            self._folder = Path(started.enter_context(folder))
            started.callback(self._end)
            for _ in range(self.count):
                self._start()
            self._exit = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def submit(
        self, program: ExportedProgram, backend: Backend, *, first_stage: int
    ) -> Future[Fetch]:
        """Lower ``program`` in the next worker that is free.

        The future raises ModelError: it cannot be lowered, or the worker ended.

        Raises:
            OSError: there is no room for the program on disk.
        """
        name = self._folder / str(len(self._submitted))
        with name.with_suffix(".pt2").open("wb") as file:
            torch.export.save(program, file)
        request = {
            "program": f"{name}.pt2", "backend": backend, "first_stage": first_stage,
            "lowered": f"{name}.lowered",
        }  # fmt: skip
        task = _Task(Future(), request)
        self._submitted.append(task)
        self._tasks.put(task)
        with self._lock:
            if not self._left:
                self._fail_the_rest(self._workers[-1])
        return task.future

    def _start(self) -> None:
        stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the worker has ended
        process = subprocess.Popen(
            [sys.executable, "-m", "mobilesplit.export.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # an interrupt at the terminal is ours to pass on
        )
        worker = _Worker(process, stderr)
        self._workers.append(worker)
        self._left += 1
        self._threads.append(threading.Thread(target=self._serve, args=(worker,), daemon=True))
        self._threads[-1].start()

    def _serve(self, worker: _Worker) -> None:
        """Hand over tasks until there are no more, or the worker has ended."""
        while (task := self._tasks.get()) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            error = _ask(worker.process, task.request)
            if error is None:
                task.future.set_result(_fetch(Path(task.request["lowered"])))
            elif error:
                task.future.set_exception(cannot_be_lowered(error))
            else:
                task.future.set_exception(_ended(worker))
                break
        with self._lock:
            self._left -= 1
            if not self._left:  # nobody is there to take what is left
                self._fail_the_rest(worker)

    def _fail_the_rest(self, worker: _Worker) -> None:
        for task in self._submitted:
            if not task.future.done() and task.future.set_running_or_notify_cancel():
                task.future.set_exception(_ended(worker))

    def _end(self) -> None:
        for task in self._submitted:
            task.future.cancel()
        for worker in self._workers:
            worker.process.kill()
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout, worker.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # what was not sent to the dead
                        pipe.close()


def _ask(process: subprocess.Popen[str], request: dict[str, Any]) -> str | None:
    """Let a worker do a task: None when it is done, why it could not, "" if the worker ended."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        return ""
    if not line.endswith("\n"):
        return ""
    error: str | None = json.loads(line)["error"]
    return error


def _fetch(path: Path) -> Fetch:
    def fetch() -> Lowered:
        lowered = unpack(path.read_bytes())
        path.unlink()
        return lowered

    return fetch


def _ended(worker: _Worker) -> ModelError:
    """How a worker ended, with the last line that it said."""
    code = worker.process.wait()
    worker.stderr.seek(0)
    lines = worker.stderr.read().decode(errors="replace").strip().splitlines()
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return ModelError(
        f"A process that lowers ended ({': '.join([how, *lines[-1:]])}).",
        next_step="If memory ran out, try --jobs 1.",
    )
