"""A process that lowers programs: started by `workers`, answers on its standard output.

The rule: it ends when whoever started it does. Standard output carries answers only; whatever
torch prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from queue import SimpleQueue
from typing import BinaryIO

from mobilesplit.export.exchange import Task, read_message, write_message

LOWERED, FAILED = b"L", b"F"
"""How an answer begins: a packed ``Lowered`` follows, or the reason in UTF-8."""


def main() -> None:
    """Answer tasks until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    tasks: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, tasks), daemon=True).start()
    from mobilesplit.segment.quiet import quiet

    with quiet():
        import torch

        torch.set_num_threads(1)
        from mobilesplit.export.lowered import pack
        from mobilesplit.export.lowering import lower

        while True:
            task = Task.load(tasks.get())
            try:
                program = torch.export.load(io.BytesIO(task.program))
                lowered = lower(program, task.backend, first_stage=task.first_stage)
                write_message(answers, LOWERED + pack(lowered))
            except Exception as error:  # whatever it is, the parent is who says it
                write_message(answers, FAILED + f"{type(error).__name__}: {error}".encode())


def _read(source: BinaryIO, tasks: SimpleQueue[bytes]) -> None:
    with contextlib.suppress(OSError):
        while (task := read_message(source)) is not None:
            tasks.put(task)
    os._exit(0)  # in the middle of lowering too: nobody waits for it


if __name__ == "__main__":
    main()
