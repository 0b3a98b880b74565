"""Every error that a user may see, in one tree; the exit code of each is the command's.

    MobilesplitError            1  failed
    ├── UsageError              2  the command was asked for something that cannot be
    │   ├── UnknownNameError    2  lists the known names
    │   └── InputFileError      2  a file is missing, unreadable or not what it should be
    ├── ModelError              1  torch.export does not take the model, or no cut in it is right
    ├── BundleError             1  a bundle is incomplete, tampered with or of another version
    ├── DeviceError             3  no usable device
    │   ├── DeviceGoneError     3  the device left in the middle of something
    │   ├── DeviceTimeoutError  3  no answer in time; the device may still be there
    │   └── UsbUnusableError    3  the library for phones on a cable is missing
    ├── RunnerError             4  the runner failed on the device
    └── CloudError              1  the server cannot be reached, or refuses
        ├── ServerGoneError     1  the connection was lost in the middle of a job
        ├── RefusedError        1  the server answered, and said no
        └── WireError           1  bytes that are not a valid frame or message

Errors carry fields; ``str()`` makes one line of them that ends with the next step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Cause = Literal[
    "unauthorized",
    "offline",
    "not_found",
    "no_space",
    "no_permission",
    "wrong_abi",
    "out_of_memory",
    "newer_program",
    "bad_program",
]
"""What lies behind a failure on a device, where that is known."""


class MobilesplitError(Exception):
    """``what`` went wrong, in one sentence, and the ``next_step`` that mends it."""

    exit_code = 1

    def __init__(self, what: str, *, next_step: str = "") -> None:
        super().__init__(what, next_step)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        sentence = " ".join(self.what.split())
        return f"{sentence} {self.next_step}".strip()


class UsageError(MobilesplitError):
    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in a list of known names: the list is the next step."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = sorted(known)
        listing = ", ".join(self.known) or "none"
        super().__init__(f"No {kind} is called {name!r}.", next_step=f"Known: {listing}.")


class InputFileError(UsageError):
    """A file that the user named cannot be used."""

    def __init__(self, path: str, why: str, *, next_step: str = "") -> None:
        self.path = path
        self.why = why
        super().__init__(f"{path}: {why}.", next_step=next_step)


class ModelError(MobilesplitError):
    pass


class BundleError(MobilesplitError):
    pass


class DeviceError(MobilesplitError):
    """Something on the way to, or on, a device. Every field may be unknown (None)."""

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        serial: str | None = None,
        command: str | None = None,
        command_exit_code: int | None = None,
        stderr: str = "",
        cause: Cause | None = None,
        next_step: str = "See `mobilesplit devices`.",
    ) -> None:
        super().__init__(what, next_step=next_step)
        self.serial = serial
        self.command = command
        self.command_exit_code = command_exit_code
        self.stderr = stderr
        self.cause = cause

    def __str__(self) -> str:
        parts = [f"{self.serial}: {self.what}" if self.serial else self.what]
        if self.command is not None:
            shown = self.command if len(self.command) <= 120 else self.command[:117] + "..."
            code = "" if self.command_exit_code is None else f" exited {self.command_exit_code}"
            parts.append(f"(`{shown}`{code})")
        if self.stderr.strip():
            parts.append(f"stderr: {self.stderr.strip()[-300:]!r}.")
        if self.next_step:
            parts.append(self.next_step)
        return " ".join(" ".join(parts).split())


class DeviceGoneError(DeviceError):
    pass


class DeviceTimeoutError(DeviceError):
    pass


class UsbUnusableError(DeviceError):
    pass


class RunnerError(DeviceError):
    exit_code = 4


class CloudError(MobilesplitError):
    pass


class ServerGoneError(CloudError):
    pass


class RefusedError(CloudError):
    pass


class WireError(CloudError):
    pass


def first_line(said: str) -> str:
    """The first line of what a library said, for a sentence of ours: without its stop, at most
    300 characters; empty if it said nothing."""
    lines = said.strip().splitlines()
    return lines[0].strip()[:300].rstrip(".:") if lines else ""
