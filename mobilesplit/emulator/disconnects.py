"""Drops a phone's connections as its faults say, and refuses new ones for a while.

Rule: what was armed fires once, and is then no longer among the phone's faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mobilesplit.emulator.adbd import AdbConnection
from mobilesplit.emulator.phone import VirtualPhone

_ONCE: dict[str, object] = {
    "disconnect_after_ms": None, "disconnect_after_nbytes": None, "refuse_s": 0.0,
}  # fmt: skip


class Disconnects:
    """Watches over the open connections of one phone."""

    def __init__(self, phone: VirtualPhone) -> None:
        self._phone = phone
        self._open: set[AdbConnection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._left_nbytes: int | None = None
        self._refused_until_s = 0.0

    @property
    def refuses(self) -> bool:
        """Whether a new connection ends at once."""
        return asyncio.get_running_loop().time() < self._refused_until_s

    def watch(self, connection: AdbConnection) -> None:
        """A connection has been opened."""
        self._open.add(connection)
        connection.on_receive = self._count

    def forget(self, connection: AdbConnection) -> None:
        """It has ended."""
        self._open.discard(connection)

    def faults_changed(self, names: Iterable[str]) -> None:
        """Arm again if one of ours is among the changed ``names``."""
        if not _ONCE.keys() & set(names):
            return
        self.disarm()
        faults = self._phone.faults
        self._left_nbytes = faults.disconnect_after_nbytes
        if faults.disconnect_after_ms is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(faults.disconnect_after_ms / 1000, self._drop)

    def disarm(self) -> None:
        """For the phone's end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count(self, nbytes: int) -> None:
        if self._left_nbytes is None:
            return
        self._left_nbytes -= nbytes
        if self._left_nbytes < 0:
            self._drop()

    def _drop(self) -> None:
        refuse_s = self._phone.faults.refuse_s
        self._refused_until_s = asyncio.get_running_loop().time() + refuse_s
        self._phone.change_faults(_ONCE)
        self.faults_changed(_ONCE)
        for connection in self._open:
            connection.drop()
