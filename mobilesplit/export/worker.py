"""A process that lowers programs: started by `workers`, one JSON line a task and an answer.

The rule: it ends when whoever started it does. Standard output carries answers only; whatever
torch prints goes to standard error.

    task     {"program": PATH, "backend": NAME, "first_stage": N, "lowered": PATH}
    answer   {"error": null} once ``lowered`` is written, or {"error": REASON}
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any


def main() -> None:
    """Answer tasks until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tasks: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, tasks), daemon=True).start()
    from mobilesplit.segment.quiet import quiet

    with quiet():
        import torch

        torch.set_num_threads(1)
        from mobilesplit.export.lowered import pack
        from mobilesplit.export.lowering import lower

        while True:
            task = tasks.get()
            reason = None
            try:
                program = torch.export.load(task["program"])
                lowered = lower(program, task["backend"], first_stage=task["first_stage"])
                Path(task["lowered"]).write_bytes(pack(lowered))
            except Exception as error:  # whatever it is, the parent is who says it
                reason = f"{type(error).__name__}: {error}"
            answers.write(json.dumps({"error": reason}) + "\n")
            answers.flush()


def _read(source: IO[str], tasks: SimpleQueue[dict[str, Any]]) -> None:
    for line in source:
        tasks.put(json.loads(line))
    os._exit(0)  # in the middle of lowering too: nobody waits for it


if __name__ == "__main__":
    main()
