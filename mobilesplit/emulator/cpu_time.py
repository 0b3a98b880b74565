"""How long a host process has kept a core busy.

Rule: schedstat (nanoseconds) where the kernel has it, clock ticks (10 ms) where it has not.
Source: Linux Documentation/scheduler/sched-stats.rst, proc_pid_stat(5).
"""

from __future__ import annotations

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_time_s(pid: int) -> float | None:
    """CPU time of all threads of ``pid``; None when there is no such process."""
    process = Path("/proc") / str(pid)
    try:
        stat = (process / "stat").read_text()
    except OSError:
        return None
    # The command name may hold anything, spaces and brackets too: count from its end.
    fields = stat.rsplit(")", 1)[1].split()
    ticks_s = (int(fields[11]) + int(fields[12])) * _TICK_S
    live_threads_ns = 0
    for thread in (process / "task").glob("*/schedstat"):
        try:
            live_threads_ns += int(thread.read_text().split()[0])
        except (OSError, IndexError):
            continue  # the thread ended meanwhile
    # Threads that ended are in stat only, so the larger one misses less.
    return max(ticks_s, live_threads_ns / 1e9)
