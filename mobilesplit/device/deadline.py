"""The end of an operation, whatever number of messages it takes."""

from __future__ import annotations

import time


class Deadline:
    """Fixed when it is made: a device that trickles does not extend it."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds left.

        Raises:
            TimeoutError: none are.
        """
        left = self._end_s - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
