"""This machine: what building a runner needs, room, and the adb server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mobilesplit.core.errors import MobilesplitError
from mobilesplit.device.doctor.finding import Finding, failure, ok, warning
from mobilesplit.device.runner_build.ndk import find_ndk
from mobilesplit.device.runner_build.prerequisites import (
    Prerequisite,
    cmake_prerequisite,
    executorch_version,
    ndk_prerequisite,
    ninja_prerequisite,
)
from mobilesplit.device.runner_build.toolchain import BuildFailed, find_compiler
from mobilesplit.device.transports.adb_server import AdbServer, server_address
from mobilesplit.user_folders import cache_folder

_LEAST_FREE_BYTES = 500e6
"""Less than a runner, a bundle and their scratch files take."""
_AMPLE_FREE_BYTES = 2e9


def look_at_host() -> Iterator[Finding]:
    """Lines about this machine, in the order in which things are needed."""
    yield ok("ExecuTorch", f"{executorch_version()}: what runners must be built of")
    try:
        yield ok("compiler", " ".join(find_compiler()))
    except BuildFailed as error:
        yield warning(
            "compiler",
            f"{error} Virtual phones run the slower Python runner instead.",
            "Install one (Debian: `apt install g++`), or set CXX.",
        )
    yield _tool("CMake", cmake_prerequisite())
    yield _tool("Ninja", ninja_prerequisite())
    # Only a real phone's runner needs it.
    yield _tool("Android NDK", ndk_prerequisite(find_ndk(os.environ)))
    yield _room("room for builds", cache_folder())
    yield _room("room for bundles", Path.cwd())


def look_at_server() -> Finding:
    """The line about the adb server."""
    try:
        address = "{}:{}".format(*server_address(os.environ))
        server = AdbServer.running()
        if server is None:
            return ok("adb server", f"none at {address}; one starts where a phone needs it")
        return ok("adb server", f"protocol {server.version()} at {address}")
    except MobilesplitError as error:
        return failure("adb server", error.what, error.next_step)


def _tool(what: str, needed: Prerequisite) -> Finding:
    if needed.found is not None:
        return ok(what, needed.found)
    # The sentence names its own next step.
    return warning(what, needed.missing, "")


def _room(what: str, folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    says = f"{free / 1e9:.1f} GB free in {there}"
    if free < _LEAST_FREE_BYTES:
        return failure(what, says, "Free some; builds go to XDG_CACHE_HOME.")
    if free < _AMPLE_FREE_BYTES:
        return warning(what, says, "Large models need more; builds go to XDG_CACHE_HOME.")
    return ok(what, says)
