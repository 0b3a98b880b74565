"""The device's settings while it is measured: saved, set, and restored whatever happens.

Three things restore them: the end of the ``with``; a guard, which is a shell on the device that
waits on a stream from us and acts when it breaks (a killed command, a pulled cable); and, should
the guard die too (a reboot), the next command, which finds the script that says how.

One rule: every session has a script of its own, and a guard runs none but its own. One that wakes
late, after another command has restored the device, finds its script gone and does nothing. Who
calls holds the device (`exclusive`), so every script that lies there is a leftover.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.device import Device
from mobilesplit.device.push import REMOTE_FOLDER

RESTORE_SCRIPTS = f"{REMOTE_FOLDER}/restore-*.sh"
"""The scripts of sessions that have not ended, or could not restore all."""
_STAY_ON = "stay_on_while_plugged_in"
_STAY_ON_ALWAYS = "7"  # AC, USB and wireless: BatteryManager's bits
_ANDROID_11 = 30
_ARMED = b"armed"
_ARMED_WITHIN_S = 15.0


@dataclass(frozen=True)
class HeldState:
    """What was changed on the device while it was measured."""

    set: tuple[str, ...]
    """The commands that set it."""
    restore: tuple[str, ...]
    """The commands that restore it."""
    refused: tuple[str, ...]
    """What the device did not allow, with its words."""
    not_restored: list[str] = field(default_factory=list)
    """What could not be undone, in the device's words; known when the ``with`` has ended."""


@contextmanager
def held_state(
    device: Device, sdk: int | None, *, progress: Callable[[str], None] = lambda _: None
) -> Iterator[HeldState]:
    """Keep a lit screen lit and, from Android 11, the clocks steady where the device can.

    The screen's setting works only while the device has power from a cable or a charger, and lights
    no screen that is dark. Airplane mode is left alone: it would end adb over Wi-Fi.

    Raises:
        DeviceError: the guard does not start; nothing was changed.
        DeviceGoneError: the connection was lost before anything was changed.
    """
    not_restored = restore_leftovers(device, progress=progress)
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
    script = f"{REMOTE_FOLDER}/restore-{secrets.token_hex(8)}.sh"
    # The way back lies there before the first step is made.
    _write_script(device, script, [undo for _, undo in wanted])
    # Whatever ends the wait: with its script gone there is nothing to restore.
    guard = device.open_shell(
        f"trap '' HUP INT TERM PIPE; echo {_ARMED.decode()}; read end; test ! -f {script} ||"
        f" sh {script}"
    )
    try:
        if (said := guard.read_line(timeout_s=_ARMED_WITHIN_S)) != _ARMED:
            raise DeviceError(
                f"the guard that restores its settings did not start (it said {said!r}).",
                serial=device.serial,
                stderr=guard.stderr_text,
                next_step="Use --no-hold-state.",
            )
        refused = []
        made = []
        for command, undo in wanted:
            result = device.shell(command)
            if result.exit_code == 0:
                made.append((command, undo))
            else:
                said_why = result.stderr.strip() or result.text
                refused.append(f"{command}: {said_why or f'exit code {result.exit_code}'}")
        if refused:
            # What cannot be set cannot be undone either, and would look like a failed restore.
            _write_script(device, script, [undo for _, undo in made])
        yield HeldState(
            tuple(command for command, _ in made),
            tuple(undo for _, undo in made),
            tuple(refused),
            not_restored,
        )
    finally:
        # If the device is gone, its guard restores; hiding why it went would help nobody.
        with suppress(DeviceError):
            not_restored += _run_script(device, script)
        guard.close()


def restore_leftovers(
    device: Device, *, progress: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Run the scripts of profiles that never ended; what could not be undone, in words.

    A script that succeeds is gone; one that does not stays for the next command.
    """
    listed = device.shell(f"ls {RESTORE_SCRIPTS}")
    failed: list[str] = []
    for script in listed.text.split() if listed.exit_code == 0 else []:
        progress("restoring what an earlier profile left set")
        failed += _run_script(device, script)
    return failed


def _run_script(device: Device, script: str) -> list[str]:
    """Undo; what failed, if anything did."""
    result = device.shell(f"sh {shlex.quote(script)}")
    if result.exit_code == 0:
        return []
    return [" ".join(result.stderr.split()) or f"{script} exited {result.exit_code}"]


def _write_script(device: Device, script: str, undo: list[str]) -> None:
    """The restore script, in place whole before it counts. It removes itself only when every
    command succeeded, and tries all of them in any case."""
    partial = f"{script}.part"
    lines = [
        *(f'{command} || failed="$failed {command};"' for command in undo),
        'test -z "$failed" || echo "not restored:$failed" >&2',
        f'test -z "$failed" && rm -f {script}',
    ]
    device.check_shell(f"mkdir -p {REMOTE_FOLDER} && rm -f {partial}")
    for line in lines:
        device.check_shell(f"echo {shlex.quote(line)} >> {partial}")
    device.check_shell(f"mv {partial} {script}")
