"""Which runner a device needs.

Rule: a virtual phone executes this machine's own runner, whatever ABI it declares; a real phone
or an AVD needs one that was built for Android. A runner that cannot start there is never pushed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mobilesplit.core.errors import InputFileError, RunnerError
from mobilesplit.device.runner_build.android import ABIS, android_folder
from mobilesplit.device.runner_build.cmake_build import Progress
from mobilesplit.device.runner_build.host import build_host_runner
from mobilesplit.device.runner_build.runners import BINARY_NAME, Runner
from mobilesplit.device.runner_build.toolchain import BuildFailed
from mobilesplit.device.runner_build.torchscript import build_torchscript_runner

if TYPE_CHECKING:
    from mobilesplit.device.device import Device

_MACHINES = {"arm64-v8a": 183, "x86_64": 62, "armeabi-v7a": 40, "x86": 3}
"""ELF's ``e_machine`` by ABI (elf.h: EM_AARCH64, EM_X86_64, EM_ARM, EM_386)."""
_MACHINE_OFFSET = 18


def runner_for(
    device: Device,
    *,
    torchscript: bool = False,
    chosen: Path | None = None,
    progress: Progress = lambda _: None,
) -> Runner:
    """`find_runner` for a connected device, which is asked what it is.

    Raises:
        RunnerError: no runner fits it.
        DeviceError: it does not answer.
    """
    said = device.check_shell("getprop ro.product.cpu.abi; getprop ro.mobilesplit.emulated")
    abi, _, emulated = said.partition("\n")
    return find_runner(
        abi.strip() or None,
        virtual_phone=emulated.strip() == "1",
        serial=device.serial,
        torchscript=torchscript,
        chosen=chosen,
        progress=progress,
    )


def find_runner(
    abi: str | None,
    *,
    virtual_phone: bool,
    serial: str | None = None,
    torchscript: bool = False,
    chosen: Path | None = None,
    cache_root: Path | None = None,
    progress: Progress = lambda _: None,
) -> Runner:
    """The runner for a device of ``abi``, for a program or for TorchScript heads; ``chosen`` is
    one that the user named (``--runner``).

    Raises:
        RunnerError: none was built for that ABI, or the chosen one is for another.
        InputFileError: the chosen one cannot be read.
    """
    if chosen is not None:
        return _chosen_runner(chosen, abi, serial, virtual_phone)
    if torchscript:
        return _torchscript_runner(serial, virtual_phone, cache_root, progress)
    if virtual_phone:
        return build_host_runner(cache_root=cache_root, progress=progress)
    if abi not in ABIS:
        raise RunnerError(
            f"no runner is built for its ABI {abi or '(unknown)'}.",
            serial=serial,
            next_step=f"Build one yourself and name it with --runner. Known: {', '.join(ABIS)}.",
        )
    path = android_folder(abi, cache_root) / f"{BINARY_NAME}-{abi}"
    if not path.is_file():
        raise RunnerError(
            f"there is no runner for {abi} yet.",
            serial=serial,
            next_step=f"Build it with `tools/build_android_runner --abi {abi}`, or name one with "
            "--runner PATH.",
        )
    return Runner.at(path)


def _torchscript_runner(
    serial: str | None, virtual_phone: bool, cache_root: Path | None, progress: Progress
) -> Runner:
    if not virtual_phone:
        raise RunnerError(
            "TorchScript heads have a runner on virtual phones only.",
            serial=serial,
            next_step="Export with --format executorch, or load the heads in an app.",
        )
    try:
        return build_torchscript_runner(cache_root=cache_root, progress=progress)
    except BuildFailed as error:
        raise RunnerError(
            f"the runner for TorchScript heads cannot be built: {error}",
            serial=serial,
            next_step="Export with --format executorch.",
        ) from error


def _chosen_runner(path: Path, abi: str | None, serial: str | None, virtual_phone: bool) -> Runner:
    try:
        with path.open("rb") as file:
            head = file.read(_MACHINE_OFFSET + 2)
    except OSError as error:
        raise InputFileError(str(path), f"{error.strerror}") from None
    machine = int.from_bytes(head[_MACHINE_OFFSET:], "little")
    wanted = _MACHINES.get(abi or "")
    if head[:4] == b"\x7fELF" and not virtual_phone and wanted not in (None, machine):
        built_for = next((name for name, code in _MACHINES.items() if code == machine), "another")
        raise RunnerError(
            f"{path.name} is built for {built_for}, the device runs {abi}.",
            serial=serial,
            next_step="Give a runner for the device's ABI.",
        )
    return Runner.at(path)
