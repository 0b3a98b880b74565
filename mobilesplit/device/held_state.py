"""The device's settings while it is measured: saved, set, and restored whatever happens.

Three things restore them: the end of the ``with``; a guard, which is a shell on the device that
waits on a stream from us and acts when it breaks (a killed command, a pulled cable); and, should
the guard die too (a reboot), the next command, which finds the script that says how.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.device import Device
from mobilesplit.device.push import REMOTE_FOLDER

RESTORE_SCRIPT = f"{REMOTE_FOLDER}/restore.sh"
_STAY_ON = "stay_on_while_plugged_in"
_STAY_ON_ALWAYS = "7"  # AC, USB and wireless: BatteryManager's bits
_ANDROID_11 = 30
_DONE = b"done\n"


@dataclass(frozen=True)
class HeldState:
    """What was changed on the device while it was measured."""

    set: tuple[str, ...]
    """The commands that set it."""
    restore: tuple[str, ...]
    """The commands that restore it."""
    refused: tuple[str, ...]
    """What the device did not allow, with its words."""


@contextmanager
def held_state(
    device: Device, sdk: int | None, *, progress: Callable[[str], None] = lambda _: None
) -> Iterator[HeldState]:
    """Keep the screen on and, from Android 11, the clocks steady where the device can.

    Raises:
        DeviceGoneError: the connection was lost before anything was changed.
    """
    restore_leftover(device, progress=progress)
    was = device.shell(f"settings get global {_STAY_ON}").text.strip()
    wanted = [
        (
            f"settings put global {_STAY_ON} {_STAY_ON_ALWAYS}",
            f"settings put global {_STAY_ON} {was}"
            if was.isdecimal()
            else f"settings delete global {_STAY_ON}",
        )
    ]
    if sdk is not None and sdk >= _ANDROID_11:
        # Android has no way to ask for it; nobody but a benchmark sets it, so off is what it was.
        mode = "cmd power set-fixed-performance-mode-enabled"
        wanted.append((f"{mode} true", f"{mode} false"))
    # The way back lies there before the first step is made.
    _write_script(device, [undo for _, undo in wanted])
    guard = device.open_shell(
        f"trap '' HUP INT TERM PIPE; read answer; "
        f'test "$answer" = done || sh {shlex.quote(RESTORE_SCRIPT)}'
    )
    refused = []
    made = []
    try:
        for command, undo in wanted:
            result = device.shell(command)
            if result.exit_code == 0:
                made.append((command, undo))
            else:
                said = result.stderr.strip() or result.text
                refused.append(f"{command}: {said or f'exit code {result.exit_code}'}")
        yield HeldState(
            tuple(command for command, _ in made), tuple(undo for _, undo in made), tuple(refused)
        )
    finally:
        # If the device is gone, its guard restores; hiding why it went would help nobody.
        with suppress(DeviceError):
            restore_leftover(device)
            guard.write(_DONE)
        guard.close()


def restore_leftover(device: Device, *, progress: Callable[[str], None] = lambda _: None) -> bool:
    """Run and remove the script of a profile that never ended; whether there was one."""
    quoted = shlex.quote(RESTORE_SCRIPT)
    if device.shell(f"test -f {quoted}").exit_code != 0:
        return False
    progress("restoring what an earlier profile left set")
    device.check_shell(f"sh {quoted}")
    return True


def _write_script(device: Device, commands: list[str]) -> None:
    """The restore script, in place whole before it counts."""
    partial = f"{RESTORE_SCRIPT}.part"
    lines = [*commands, f"rm -f {RESTORE_SCRIPT}"]
    device.check_shell(f"mkdir -p {REMOTE_FOLDER} && rm -f {partial}")
    for line in lines:
        device.check_shell(f"echo {shlex.quote(line)} >> {partial}")
    device.check_shell(f"mv {partial} {RESTORE_SCRIPT}")
