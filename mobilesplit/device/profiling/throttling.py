"""Whether Android holds the device back while it is measured, and what is done about it."""

from __future__ import annotations

import time
from collections.abc import Callable

from mobilesplit.device.device import Device
from mobilesplit.device.profiling.journal import Journal, ThermalChecked
from mobilesplit.device.profiling.settings import ProfileSettings
from mobilesplit.device.thermal import read_thermal, wait_until_cool

_CHECK_EVERY_S = 5.0
"""Between two looks at the thermal status: each costs the device some 50 ms."""
_MAX_COOLINGS = 3
"""A device that is held back again after so many pauses is so at this load: measured as it is."""


class ThermalWatch:
    """Looks at the thermal status now and then, and writes what it sees into the journal."""

    def __init__(
        self,
        device: Device,
        journal: Journal,
        settings: ProfileSettings,
        progress: Callable[[str], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._device = device
        self._journal = journal
        self._settings = settings
        self._progress = progress
        self._sleep = sleep
        self._checked_s = time.monotonic()
        self._coolings = sum(isinstance(r, ThermalChecked) and r.void for r in journal.records)

    def check(self, session: int, round_number: int, *, now: bool = False) -> bool:
        """Look, if it is time to. If Android holds the device back, what was measured since the
        last look does not count; the device cools down, and this returns True: it is cold again.
        """
        if not now and time.monotonic() - self._checked_s < _CHECK_EVERY_S:
            return False
        thermal = read_thermal(self._device)
        void = thermal.throttled and self._coolings < _MAX_COOLINGS
        self._journal.add(
            ThermalChecked(
                session=session,
                round=round_number,
                status=thermal.status,
                celsius=thermal.celsius,
                throttled=thermal.throttled,
                void=void,
            )
        )
        if void:
            self._coolings += 1
            wait_until_cool(
                self._device,
                self._settings.cool_to_c,
                self._settings.cool_max_s,
                progress=self._progress,
                sleep=self._sleep,
            )
        self._checked_s = time.monotonic()
        return void
