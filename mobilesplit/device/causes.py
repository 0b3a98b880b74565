"""What lies behind a failure on a device, found in what it said. Pure.

Rule: a cause is named only where the words or the exit code leave no doubt; everything else stays
unnamed. The words are those of adb (services.cpp, file_sync_service.cpp), of Android's shell (mksh)
and linker, of strerror, and of our runner (android_harness/README.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mobilesplit.core.errors import Cause

NEXT_STEPS: Mapping[Cause, str] = {
    "unauthorized": "Unlock the phone, accept this computer's key on its screen, and try again.",
    "offline": "Plug it in again, or run `adb reconnect`, and look at `mobilesplit devices`.",
    "not_found": "See `mobilesplit devices` for those there are.",
    "no_space": "Free some space on the device: `df /data/local/tmp` shows what is left.",
    "no_permission": "Use a folder that adb's shell may use, such as /data/local/tmp.",
    "wrong_abi": "Push a runner for the device's ABI; `mobilesplit doctor` shows both.",
    "out_of_memory": "It was too large for the device's memory, most likely: close apps on it,"
    " choose an earlier cut, or export int8 heads.",
    "newer_program": "Build the runner again with the ExecuTorch that exported the bundle"
    " (`mobilesplit doctor` shows it), and push again.",
    "bad_program": "Export and push again.",
}

_WORDS: tuple[tuple[Cause, str], ...] = (
    ("unauthorized", r"\bunauthorized\b"),
    ("offline", r"\bdevice (still )?(is )?(offline|authorizing|connecting)\b"),
    ("not_found", r"\bdevice '[^']*' not found|no devices/emulators found"),
    ("no_space", r"no space left on device|\bENOSPC\b|disk quota exceeded"),
    (
        "wrong_abi",
        r"exec format error|not executable: \d+-bit ELF|is for EM_\w+ .*instead of EM_\w+"
        r"|has unexpected e_machine|is \d+-bit instead of \d+-bit",
    ),
    ("out_of_memory", r"cannot allocate memory|out of memory|std::bad_alloc"),
    ("no_permission", r"permission denied|operation not permitted|read-only file system"),
)

_RUNNER_CAUSES: Mapping[str, Cause] = {
    "missing_operator": "newer_program",
    "program_too_new": "newer_program",
    "out_of_memory": "out_of_memory",
    "bad_program": "bad_program",
}
"""Words of the runner's ``cause`` field."""

_KILLED = 128 + 9
_LAST_LINES = 10
"""Where the reason of an end is told; what was said long before may be about something else."""


def find_cause(said: str, command_exit_code: int | None) -> Cause | None:
    """The cause of a failure from what was said and the exit code; None where nothing names it.

    137 (SIGKILL) that nobody here sent is Android's low memory killer, whatever was said before: a
    killed process says nothing of it. 132 (SIGILL) names no cause: a runner of the right ABI dies
    of it too, in an instruction that this CPU lacks or in a trap of the compiler's.
    """
    if command_exit_code == _KILLED:
        return "out_of_memory"
    end = "\n".join(said.strip().splitlines()[-_LAST_LINES:])
    for cause, words in _WORDS:
        if re.search(words, end, re.IGNORECASE):
            return cause
    return None


def cause_of_event(event: Mapping[str, object]) -> Cause | None:
    """The cause that the runner's error event names, or what its message tells."""
    word = event.get("cause")
    if isinstance(word, str) and word in _RUNNER_CAUSES:
        return _RUNNER_CAUSES[word]
    return find_cause(str(event.get("message", event.get("error", ""))), None)


def next_step_for(cause: Cause | None, otherwise: str) -> str:
    """What mends ``cause``; ``otherwise`` where none is known."""
    return otherwise if cause is None else NEXT_STEPS[cause]
