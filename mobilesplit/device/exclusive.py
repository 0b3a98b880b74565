"""One command at a time that measures a device or changes what lies on it: two would disturb, and
each undo the other's settings or replace its runner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from typing import IO

from mobilesplit.core.errors import DeviceError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.identity import known_as
from mobilesplit.user_folders import state_folder

PUSH_WAIT_S = 10.0
"""For a command that only pushes: as long as another one's short push is waited for."""
_LOOK_EVERY_S = 0.1


@contextlib.contextmanager
def exclusive(facts: DeviceFacts, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the device for this process; the kernel lets go of it if the process dies.

    Known by its serial number, so over whatever way it was reached. Another computer is not seen.

    Raises:
        DeviceError: another process holds it, and still does after ``wait_s``.
    """
    folder = state_folder() / "measured"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / re.sub(r"[^\w.-]", "_", known_as(facts))
    with path.open("a+") as handle:
        deadline_s = time.monotonic() + wait_s
        while not _locked(handle):
            if time.monotonic() >= deadline_s:
                handle.seek(0)
                raise DeviceError(
                    f"it is in use already (process {handle.read().strip() or 'unknown'}).",
                    serial=facts.serial,
                    next_step="Wait for that to end, or stop it with Ctrl-C.",
                )
            time.sleep(_LOOK_EVERY_S)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _locked(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
