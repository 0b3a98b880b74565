"""Runner and program onto the device: verified by sha256, skipped when already there."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mobilesplit.core.errors import DeviceError, UsageError
from mobilesplit.core.manifest import Bundle, Manifest
from mobilesplit.device.device import Device
from mobilesplit.device.runner_build.torchscript import write_script_program

REMOTE_FOLDER = "/data/local/tmp/mobilesplit"
PARTIAL = ".part"
"""How the name of a file ends that is being pushed, or whose push was cut off."""
_DIGEST_S = 60.0
_TIDY_S = 5.0
_NO_SUCH_COMMAND = 127

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Pushed:
    """What lies on the device."""

    runner: str
    """Path of the runner there."""
    program: str
    """Path of the program there."""
    sent_bytes: int
    """What had to be sent; 0 when all was there."""


def push_bundle(
    device: Device, bundle: Bundle, runner: Path, *, progress: Progress = lambda _: None
) -> Pushed:
    """Bring runner and program to the device; the runner is for the bundle's format.

    Raises:
        UsageError: the bundle's TorchScript heads are of an older mobilesplit.
        DeviceError: no room, no permission, or the copy there differs from the file here.
    """
    torchscript = bundle.manifest.format == "torchscript"
    push_program = _push_scripts if torchscript else _push_executorch
    program_path, sent = push_program(device, bundle, progress)
    runner_path = f"{REMOTE_FOLDER}/{runner.name}"
    sent += push_file(device, runner, runner_path, mode=0o755, progress=progress)
    return Pushed(runner_path, program_path, sent)


def _push_executorch(device: Device, bundle: Bundle, progress: Progress) -> tuple[str, int]:
    """The bundle's program; its path and the bytes sent."""
    name = program_name(bundle.manifest)
    # Named by content: two bundles never overwrite each other's program.
    path = f"{REMOTE_FOLDER}/{bundle.manifest.sha256[name][:16]}.pte"
    device.check_shell(f"mkdir -p {REMOTE_FOLDER}")
    return path, push_file(device, bundle.path(name), path, mode=0o644, progress=progress)


def _push_scripts(device: Device, bundle: Bundle, progress: Progress) -> tuple[str, int]:
    """TorchScript heads as the folder that their runner takes; its path and the bytes sent."""
    with tempfile.TemporaryDirectory(prefix="mobilesplit-") as scratch:
        program = write_script_program(bundle, Path(scratch) / "program")
        digest = hashlib.sha256()
        for file in program:
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        folder = f"{REMOTE_FOLDER}/{digest.hexdigest()[:16]}.heads"
        device.check_shell(f"mkdir -p {folder}")
        return folder, sum(
            push_file(device, file, f"{folder}/{file.name}", mode=0o644, progress=progress)
            for file in program
        )


def program_name(manifest: Manifest) -> str:
    """File of the bundle's ExecuTorch program. Raises UsageError for one of TorchScript heads."""
    if manifest.program is None:
        raise UsageError(
            "this bundle has TorchScript heads and no ExecuTorch program.",
            next_step="Export it with --format executorch.",
        )
    return manifest.program


def push_file(
    device: Device,
    source: Path,
    target: str,
    *,
    mode: int,
    progress: Progress = lambda _: None,
) -> int:
    """Copy one file unless the device has it already, then with its mode mended; returns the
    bytes sent.

    It is sent under a name that nobody else uses and renamed once its digest is right, so that
    neither a broken push nor another computer's at the same time leaves a wrong file under the
    real name.
    """
    with source.open("rb") as file:
        wanted = hashlib.file_digest(file, "sha256").hexdigest()
    if _digest(device, target) == wanted:
        _mend_mode(device, target, mode)
        progress(f"{source.name}: already there")
        return 0
    partial = f"{target}.{secrets.token_hex(4)}{PARTIAL}"
    nbytes = source.stat().st_size

    def report(sent: int, _total: int) -> None:
        progress(f"{source.name}: {sent / 1e6:.1f} of {nbytes / 1e6:.1f} MB")

    quoted = shlex.quote(partial)
    try:
        device.push(source, partial, mode=mode, progress=report)
        arrived = _digest(device, partial)
        if arrived != wanted:
            raise DeviceError(
                f"{target} arrived damaged (sha256 {arrived}, not {wanted}).",
                serial=device.serial,
                next_step="Check the space left (`df /data/local/tmp`) and try again.",
            )
        device.check_shell(f"chmod {mode:o} {quoted} && mv {quoted} {shlex.quote(target)}")
    except BaseException:
        # As far as the device still answers: what failed is what is to be told.
        with contextlib.suppress(DeviceError):
            device.shell(f"rm -f {quoted}", timeout_s=_TIDY_S)
        raise
    return nbytes


def _mend_mode(device: Device, path: str, mode: int) -> None:
    """Only where it differs: the file may be another user's, who alone may change it."""
    quoted = shlex.quote(path)
    if device.shell(f"stat -c %a {quoted}").text != f"{mode:o}":
        device.check_shell(f"chmod {mode:o} {quoted}")


def _digest(device: Device, path: str) -> str | None:
    """The sha256 of a file on the device; None where it is not there or may not be read."""
    command = f"sha256sum {shlex.quote(path)}"
    result = device.shell(command, timeout_s=_DIGEST_S)
    if result.exit_code == _NO_SUCH_COMMAND:
        raise DeviceError(
            "the device has no sha256sum, so a push cannot be verified.",
            serial=device.serial,
            command=command,
            command_exit_code=result.exit_code,
            stderr=result.stderr,
            next_step="Android 7 and newer have it; use a newer device.",
        )
    return result.text.split(" ")[0] if result.exit_code == 0 else None
