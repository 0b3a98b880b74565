"""Processes that a command starts and that never outlive it.

A child holds the reading end of a pipe from us: when we end, however we end, it reads
end-of-file and ends too.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mobilesplit.core.errors import MobilesplitError

STOP_TIMEOUT_S = 5.0


@contextmanager
def child(
    title: str, arguments: Sequence[str], *, ready_timeout_s: float
) -> Iterator[dict[str, Any]]:
    """Run ``python -m ARGUMENTS`` and give the JSON line it prints once it is ready.

    Raises:
        MobilesplitError: it ended, or said nothing in time; with the last line of its stderr.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Ctrl-C is ours to handle: a terminal would send it to the child as well.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield _ready_line(title, process, log, ready_timeout_s)
        finally:
            _stop(process)


def _ready_line(
    title: str, process: subprocess.Popen[bytes], log: BinaryIO, timeout_s: float
) -> dict[str, Any]:
    assert process.stdout is not None
    deadline_s = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([process.stdout], [], [], left_s)[0]:
            raise MobilesplitError(
                f"{title} was not ready within {timeout_s:g} s.", next_step="Try again."
            )
        piece = os.read(process.stdout.fileno(), 65536)
        if not piece:
            process.wait(STOP_TIMEOUT_S)
            raise MobilesplitError(f"{title} did not start: {_last_line(log)}")
        line += piece
    answer = json.loads(line.splitlines()[0])
    assert isinstance(answer, dict)
    return answer


def _last_line(log: BinaryIO) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("mobilesplit: ") if lines else "it said nothing."


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def default_state_folder() -> Path:
    """Where state that belongs to this user is kept (XDG)."""
    root = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(root) / "mobilesplit"
