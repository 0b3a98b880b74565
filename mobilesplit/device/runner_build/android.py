"""The runner for Android: ExecuTorch built with the NDK, and the runner against it.

Rule: everything that is needed is checked before anything runs, and all that is missing is said
at once, with why it is needed and how to get it.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mobilesplit import resources
from mobilesplit.core.errors import MobilesplitError
from mobilesplit.device.runner_build.cmake_build import (
    Progress,
    locked,
    run_in_group,
    sources_digest,
)
from mobilesplit.device.runner_build.ndk import Ndk, find_ndk
from mobilesplit.device.runner_build.prerequisites import (
    REPOSITORY,
    Prerequisite,
    cmake_prerequisite,
    executorch_version,
    ndk_prerequisite,
    ninja_prerequisite,
    room_prerequisite,
    source_prerequisite,
)
from mobilesplit.device.runner_build.runners import BINARY_NAME, Runner, runner_cache
from mobilesplit.device.runner_build.toolchain import BuildFailed, find_cmake, find_ninja

Abi = Literal["arm64-v8a", "x86_64"]
ABIS: tuple[Abi, ...] = get_args(Abi)

PLATFORM = "android-26"
"""The oldest Android that the runner starts on (8.0): what ExecuTorch's own builds take."""

BUILD_LIMIT_S = 3 * 3600.0
"""Of the clone and both builds, which nobody has timed yet: beyond this they are surely stuck."""

_OPTIONS = (
    # Otherwise what ExecuTorch logs goes to logcat, where the runner cannot quote it.
    "EXECUTORCH_PAL_DEFAULT=posix",
    "EXECUTORCH_ENABLE_LOGGING=ON",
    "EXECUTORCH_BUILD_XNNPACK=ON",
    "EXECUTORCH_BUILD_KERNELS_OPTIMIZED=ON",
    "EXECUTORCH_BUILD_KERNELS_QUANTIZED=ON",
    "EXECUTORCH_BUILD_EXTENSION_DATA_LOADER=ON",
    "EXECUTORCH_BUILD_EXTENSION_FLAT_TENSOR=ON",
    "EXECUTORCH_BUILD_EXTENSION_MODULE=ON",
    "EXECUTORCH_BUILD_EXTENSION_NAMED_DATA_MAP=ON",
    "EXECUTORCH_BUILD_EXTENSION_TENSOR=ON",
    # For bench --etdump; without a dump asked for it costs a null pointer's check an operator.
    "EXECUTORCH_BUILD_DEVTOOLS=ON",
    "EXECUTORCH_ENABLE_EVENT_TRACER=ON",
)


@dataclass(frozen=True)
class AndroidBuild:
    """What is built, and from what. ``source`` None is a clone that the build makes itself."""

    abi: Abi
    """The device's ``ro.product.cpu.abi``."""
    source: Path | None
    """ExecuTorch's source tree at the tag of the installed version, with its submodules."""
    out: Path
    """Folder of the finished runner."""
    work: Path
    """Folder of the builds in between; may be deleted afterwards."""

    @property
    def binary(self) -> Path:
        """The finished runner."""
        return self.out / f"{BINARY_NAME}-{self.abi}"

    def prerequisites(self) -> list[Prerequisite]:
        """Everything that is needed, found or missing."""
        return [
            ndk_prerequisite(find_ndk(os.environ)),
            cmake_prerequisite(),
            ninja_prerequisite(),
            source_prerequisite(self.source or (self._clone if self._is_cloned else None)),
            room_prerequisite(self.work),
        ]

    @property
    def _clone(self) -> Path:
        return self.work / f"executorch-{executorch_version()}"

    @property
    def _is_cloned(self) -> bool:
        return source_prerequisite(self._clone).found is not None

    def commands(self, ndk: Ndk) -> list[list[str]]:
        """The commands of the build in order; the last strips the runner into place."""
        cmake, ninja = find_cmake(), find_ninja()
        source = self.source or self._clone
        # Beside its place and moved there when whole: what an interrupted clone leaves is no tree.
        half = f"{self._clone}.half"
        clone = [
            ["rm", "-rf", str(self._clone), half],
            [
                "git", "clone", "--depth", "1", "--branch", f"v{executorch_version()}",
                "--recurse-submodules", "--shallow-submodules", REPOSITORY, half,
            ],
            ["mv", half, str(self._clone)],
        ]  # fmt: skip
        common = (
            "CMAKE_BUILD_TYPE=Release",
            f"CMAKE_MAKE_PROGRAM={ninja}",
            f"CMAKE_TOOLCHAIN_FILE={ndk.toolchain_file}",
            f"ANDROID_ABI={self.abi}",
            f"ANDROID_PLATFORM={PLATFORM}",
            "ANDROID_STL=c++_static",  # one file to push, nothing beside it
        )
        # CMake keeps the compiler that a tree began with, so another NDK gets trees of its own.
        built_with = f"{executorch_version()}-{self.abi}-ndk{ndk.revision}"
        engine, prefix = self.work / f"engine-{built_with}", self.work / f"install-{built_with}"
        harness = self.work / f"runner-{built_with}"
        engine_options = (
            *common,
            f"CMAKE_INSTALL_PREFIX={prefix}",
            f"PYTHON_EXECUTABLE={sys.executable}",
            *_OPTIONS,
        )
        runner_options = (
            *common,
            f"executorch_DIR={prefix / 'lib' / 'cmake' / 'ExecuTorch'}",
            f"ENGINE_VERSION={executorch_version()}",
        )
        return [
            *([] if self.source or self._is_cloned else clone),
            _configure(cmake, source, engine, engine_options),
            [cmake, "--build", str(engine), "--target", "install"],
            _configure(cmake, resources.folder("android_harness"), harness, runner_options),
            [cmake, "--build", str(harness)],
            [str(ndk.strip), "-o", str(self.binary), str(harness / BINARY_NAME)],
        ]

    def run(self, ndk: Ndk, progress: Progress) -> Runner:
        """Build it; `prerequisites` have all been found. What the tools print goes to stderr.
        One build at a time: they share the clone.

        Raises:
            BuildFailed: a command of the build failed, or all took longer than `BUILD_LIMIT_S`.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        wait = f"Waiting for another build in {self.work} to end."
        with locked(self.work / "build.lock", waiting=lambda: progress(wait)):
            deadline = time.monotonic() + BUILD_LIMIT_S
            commands = self.commands(ndk)
            for index, command in enumerate(commands):
                progress(f"[{index + 1}/{len(commands)}] {shlex.join(command)}")
                exit_code = run_in_group(command, sys.stderr, deadline, lambda: None)
                if exit_code != 0:
                    said = (
                        f"did not end within {BUILD_LIMIT_S:g} s of building"
                        if exit_code is None
                        else f"exited {exit_code}"
                    )
                    raise BuildFailed(f"`{shlex.join(command[:4])} ..` {said}.")
            return Runner.at(self.binary)


def android_build(
    abi: str, *, source: Path | None = None, out: Path | None = None, cache_root: Path | None = None
) -> AndroidBuild:
    """The build for ``abi``. ``out`` None is the place where `find_runner` looks.

    Raises:
        MobilesplitError: an ABI that is not built for.
    """
    known = next((one for one in ABIS if one == abi), None)
    if known is None:
        raise MobilesplitError(
            f"no runner is built for the ABI {abi!r}.", next_step=f"Known: {', '.join(ABIS)}."
        )
    cache = runner_cache(cache_root)
    return AndroidBuild(
        known, source, out or android_folder(known, cache_root), cache / "android-build"
    )


def android_folder(abi: str, cache_root: Path | None = None) -> Path:
    """Where the runner for ``abi`` lies that was built from the sources as they are now."""
    digest = sources_digest(resources.folder("android_harness"))
    return runner_cache(cache_root) / f"android-{abi}-{executorch_version()}-{digest[:12]}"


def _configure(cmake: str, source: Path, tree: Path, options: Iterable[str]) -> list[str]:
    definitions = [f"-D{option}" for option in options]
    return [cmake, "-S", str(source), "-B", str(tree), "-G", "Ninja", *definitions]
