"""Lowering in several processes: it is Python through and through, so threads would not help.

The rule: a worker costs an import of torch and executorch, some seconds; small models are lowered
in this process.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import IO, Self

import torch
from torch.export import ExportedProgram

from mobilesplit.core.errors import ModelError
from mobilesplit.export.exchange import Task, read_message, write_message
from mobilesplit.export.lowering import Backend
from mobilesplit.export.worker import LOWERED

_OPERATORS_PER_PROCESS = 100
"""A worker with less to lower would take longer to start than to work."""


def num_workers(num_operators: int, jobs: int | None) -> int:
    """How many workers are worth starting beside this process, which lowers too.

    Args:
        jobs: most processes in all; None is one a core.
    """
    processes = min(jobs or os.cpu_count() or 1, num_operators // _OPERATORS_PER_PROCESS)
    return max(0, processes - 1)


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]


class Workers:
    """Processes that lower programs; entering starts them, leaving ends them at once.

    Starting does not wait for them: they import torch while this process goes on.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        """How many there are; 0: whoever needs something lowered does it itself."""
        self.handed_over_nbytes = 0
        """What they were given so far."""
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._workers: list[_Worker] = []
        self._threads = ThreadPoolExecutor(max_workers=max(1, count))

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [worker.process.pid for worker in self._workers]

    def __enter__(self) -> Self:
        for _ in range(self.count):
            stderr = tempfile.TemporaryFile()
            process = subprocess.Popen(
                [sys.executable, "-m", "mobilesplit.export.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # an interrupt at the terminal is ours to pass on
            )
            worker = _Worker(process, stderr)
            self._workers.append(worker)
            self._idle.put(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            for pipe in (worker.process.stdin, worker.process.stdout, worker.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # what was not sent to the dead
                        pipe.close()

    def submit(self, program: ExportedProgram, backend: Backend, first_stage: int) -> Future[bytes]:
        """Lower ``program`` in the next worker that is free; a packed ``Lowered``.

        The future raises ModelError: it cannot be lowered, or the worker ended.
        """
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        task = Task(buffer.getvalue(), backend, first_stage).save()
        self.handed_over_nbytes += len(task)
        return self._threads.submit(self._run, task)

    def _run(self, task: bytes) -> bytes:
        worker = self._idle.get()
        stdin, stdout = worker.process.stdin, worker.process.stdout
        assert stdin is not None and stdout is not None
        try:
            write_message(stdin, task)
            answer = read_message(stdout)
        except BrokenPipeError:
            answer = None
        if answer is None:
            raise ModelError(
                f"A process that lowers ended ({_end(worker)}).",
                next_step="If memory ran out, try --jobs 1.",
            )
        self._idle.put(worker)
        if answer[:1] != LOWERED:
            raise cannot_be_lowered(answer[1:].decode(errors="replace"))
        return answer[1:]


def _end(worker: _Worker) -> str:
    """How a worker ended, with the last line that it said."""
    code = worker.process.wait()
    worker.stderr.seek(0)
    lines = worker.stderr.read().decode(errors="replace").strip().splitlines()
    said = f": {lines[-1]}" if lines else ""
    return (f"signal {-code}" if code < 0 else f"exit code {code}") + said


def cannot_be_lowered(said: str) -> ModelError:
    """The error for what executorch said of a model, of which the first line is kept."""
    lines = said.strip().splitlines() or ["no reason was given"]
    return ModelError(
        f"The model cannot be lowered: {lines[0][:300].rstrip('.:')}.",
        next_step="Try --backend portable.",
    )
