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
from collections.abc import Sequence
from typing import Any, Self

from mobilesplit.core.errors import MobilesplitError

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0


class Child:
    """``python -m ARGUMENTS``, which prints one JSON line on stdout once it is ready.

    Starting and waiting are apart, so that it can get ready while we do something else.
    """

    def __init__(self, title: str, arguments: Sequence[str]) -> None:
        self._title = title
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Ctrl-C is ours to handle: a terminal would send it to the child as well.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def ready(self, timeout_s: float = READY_TIMEOUT_S) -> dict[str, Any]:
        """Its ready line. To be called once.

        Raises:
            MobilesplitError: it ended, or said nothing in time; with the last line of its stderr.
        """
        assert self._process.stdout is not None
        deadline_s = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n"):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self._process.stdout], [], [], left_s)[0]:
                raise MobilesplitError(
                    f"{self._title} was not ready within {timeout_s:g} s.", next_step="Try again."
                )
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                self._process.wait(STOP_TIMEOUT_S)
                raise MobilesplitError(f"{self._title} did not start: {self._last_line()}")
            line += piece
        answer = json.loads(line.splitlines()[0])
        assert isinstance(answer, dict)
        return answer

    def go(self) -> None:
        """Send the line that a child started with ``--wait`` waits for."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: `ready` will say why

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("mobilesplit: ") if lines else "it said nothing."
