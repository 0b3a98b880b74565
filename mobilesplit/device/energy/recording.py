"""Readings taken beside the inferences, on a connection of their own.

A `Device` is not for several threads, so the poll loop connects once more; what it reads is handed
over under a lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.device import Device
from mobilesplit.device.energy.readings import Reading

_MOST_MISSES = 20
"""Polls in a row that give no reading: a gauge is busy now and then, but not for so long."""
_END_S = 20.0
"""For the end of a poll under way: a little longer than a command may take."""


class Recording(Protocol):
    """Readings over a stretch of time."""

    @property
    def live(self) -> bool:
        """Whether readings come before the end."""

    def start(self) -> None:
        """Begin. Raises DeviceError where that fails."""

    def stop(self) -> None:
        """End; twice is fine. Raises DeviceError where what was recorded cannot be had."""

    def readings(self) -> list[Reading]:
        """What there is so far, in order. Raises DeviceError where recording has failed."""


class PollRecording:
    """One reading after the other, in a thread."""

    def __init__(
        self,
        connect: Callable[[], Device],
        read: Callable[[Device], Reading | None],
        *,
        every_s: float,
    ) -> None:
        self._connect = connect
        self._read = read
        self._every_s = every_s
        self._lock = threading.Lock()
        self._readings: list[Reading] = []
        self._failure: DeviceError | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def live(self) -> bool:
        """See `Recording`."""
        return True

    def start(self) -> None:
        """Connect, here, and poll, in the thread.

        Raises:
            DeviceError: a second connection cannot be had.
        """
        device = self._connect()
        self._thread = threading.Thread(
            target=self._poll, args=(device,), name="energy gauge", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """See `Recording`. A poll that hangs is left to itself: what came before it is kept."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def readings(self) -> list[Reading]:
        """See `Recording`."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            return list(self._readings)

    def _poll(self, device: Device) -> None:
        try:
            with device:
                self._poll_until_stopped(device)
        except DeviceError as failure:
            self._fail(failure)
        except Exception as bug:
            # A thread that dies in silence would leave readings that seem to be all.
            said = f"reading the gauge failed: {type(bug).__name__}: {bug}."
            self._fail(DeviceError(said, serial=device.serial))

    def _poll_until_stopped(self, device: Device) -> None:
        misses = 0
        next_s = time.monotonic()
        while not self._stopping.is_set():
            reading = self._read(device)
            misses = 0 if reading is not None else misses + 1
            if misses > _MOST_MISSES:
                raise DeviceError("the gauge gives no more readings.", serial=device.serial)
            if reading is not None:
                with self._lock:
                    self._readings.append(reading)
            # A poll that took long is not made up for by a burst of them.
            next_s = max(next_s + self._every_s, time.monotonic())
            self._stopping.wait(next_s - time.monotonic())

    def _fail(self, failure: DeviceError) -> None:
        with self._lock:
            self._failure = failure
