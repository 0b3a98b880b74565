"""One measurement of a device at a time: two would disturb, and each undo the other's settings."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator

from mobilesplit.core.errors import DeviceError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.user_folders import state_folder


@contextlib.contextmanager
def exclusive(facts: DeviceFacts) -> Iterator[None]:
    """Hold the device for this process; the kernel lets go of it if the process dies.

    Known by its serial number, so over whatever way it was reached. Another computer is not seen.

    Raises:
        DeviceError: another process holds it.
    """
    known_as = facts.serial_number or facts.serial or facts.name
    folder = state_folder() / "measured"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / re.sub(r"[^\w.-]", "_", known_as)
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise DeviceError(
                f"it is being measured already (process {handle.read().strip() or 'unknown'}).",
                serial=facts.serial,
                next_step="Wait for that to end, or stop it with Ctrl-C.",
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
