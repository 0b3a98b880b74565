"""What the app on the phone does besides the head: it prepares the sample and encodes.

The client runs on this computer. On an emulated device its work is stretched by the device's
declared slow-down, as the runner's is; on a real device the factor is 1 and the time is this
computer's, which the documents say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def stretched(work: Callable[[], T], slowdown: float) -> tuple[T, float]:
    """Do ``work``, then wait until ``slowdown`` times its time has passed; also that time, ms."""
    started_s = time.perf_counter()
    result = work()
    worked_s = time.perf_counter() - started_s
    if slowdown > 1:
        time.sleep(worked_s * (slowdown - 1))
    return result, worked_s * slowdown * 1e3
