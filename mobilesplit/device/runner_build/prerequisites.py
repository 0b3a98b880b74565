"""What a build for Android needs, checked before it starts.

Rule: a thing that is missing says why it is needed and how to get it.
"""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mobilesplit.device.runner_build.ndk import LEAST_MAJOR, Ndk
from mobilesplit.device.runner_build.toolchain import BuildFailed, find_cmake, find_ninja

LEAST_CMAKE = (3, 28)
LEAST_FREE_BYTES = 6_000_000_000
"""ExecuTorch's source with submodules, its build and its install."""
REPOSITORY = "https://github.com/pytorch/executorch"


@dataclass(frozen=True)
class Prerequisite:
    """Something that the build needs."""

    name: str
    """What it is."""
    found: str | None
    """Where, or which version; None where it is missing."""
    missing: str = ""
    """What is wrong, why it is needed and how to get it; for one that is missing."""


def executorch_version() -> str:
    """Of the installed executorch, without what follows a plus sign: the tag is ``v`` and this."""
    return importlib.metadata.version("executorch").partition("+")[0]


def ndk_prerequisite(ndk: Ndk | None) -> Prerequisite:
    """The compilers; ``ndk`` is what the search found."""
    name = f"Android NDK r{LEAST_MAJOR}"
    get = (
        "Install it with `sdkmanager 'ndk;28.2.13676358'` or from developer.android.com/ndk, and "
        "set ANDROID_NDK to its folder."
    )
    if ndk is None:
        where = (
            "$ANDROID_NDK, $ANDROID_NDK_HOME, $ANDROID_HOME/ndk, $ANDROID_SDK_ROOT/ndk, /opt/ndk"
        )
        why = f"No Android NDK was found (looked in {where}): it compiles for the phone."
        return Prerequisite(name, None, f"{why} {get}")
    if not ndk.new_enough:
        why = f"The NDK {ndk.revision} in {ndk.folder} is older than r{LEAST_MAJOR}."
        return Prerequisite(name, None, f"{why} {get}")
    for part in (ndk.toolchain_file, ndk.strip or ndk.folder / "toolchains"):
        if not part.is_file():
            why = f"The NDK in {ndk.folder} is not whole: {part} is missing."
            return Prerequisite(name, None, f"{why} {get}")
    return Prerequisite(name, f"{ndk.revision} in {ndk.folder}")


def cmake_prerequisite() -> Prerequisite:
    """New enough for the SDK's targets."""
    name = f"CMake {'.'.join(map(str, LEAST_CMAKE))}"
    get = "`pip install --upgrade cmake` brings it."
    try:
        cmake = find_cmake()
        said = subprocess.run([cmake, "--version"], capture_output=True, text=True, check=False)
    except (BuildFailed, OSError):
        return Prerequisite(name, None, f"No CMake was found: it runs both builds. {get}")
    found = re.search(r"(\d+)\.(\d+)[\d.]*", said.stdout)
    if found is None or (int(found[1]), int(found[2])) < LEAST_CMAKE:
        version = found[0] if found else "of no version"
        return Prerequisite(name, None, f"{cmake} is {version}, the runner needs {name}. {get}")
    return Prerequisite(name, f"{found[0]} in {cmake}")


def ninja_prerequisite() -> Prerequisite:
    """What CMake builds with."""
    try:
        return Prerequisite("Ninja", find_ninja())
    except BuildFailed:
        why = "No Ninja was found: CMake builds with it. `pip install ninja` brings it."
        return Prerequisite("Ninja", None, why)


def source_prerequisite(source: Path | None) -> Prerequisite:
    """ExecuTorch at the tag of the installed version; ``source`` None: git, to clone it."""
    version = executorch_version()
    name = f"ExecuTorch's source v{version}"
    get = (
        f"`git clone --branch v{version} --recurse-submodules {REPOSITORY}` gets it; name its "
        "folder with --executorch-source."
    )
    if source is None:
        git = shutil.which("git")
        if git is None:
            return Prerequisite(name, None, f"Neither {name} nor git was found. {get}")
        return Prerequisite(name, f"to be cloned by {git}")
    try:
        said = (source / "version.txt").read_text().strip()
    except OSError:
        return Prerequisite(name, None, f"{source} is no source tree of ExecuTorch. {get}")
    if re.sub(r"a0$", "", said) != version:  # release branches say 1.5.1a0
        why = f"{source} is ExecuTorch {said}; programs are made by {version}, which must match."
        return Prerequisite(name, None, f"{why} {get}")
    if not (
        source / "backends" / "xnnpack" / "third-party" / "XNNPACK" / "CMakeLists.txt"
    ).is_file():
        why = f"{source} lacks its submodules (XNNPACK's folder is empty)."
        how = f"`git -C {shlex.quote(str(source))} submodule update --init --recursive` gets them."
        return Prerequisite(name, None, f"{why} {how}")
    return Prerequisite(name, str(source))


def room_prerequisite(work: Path) -> Prerequisite:
    """Room for the builds in ``work``."""
    name = f"{LEAST_FREE_BYTES / 1e9:.0f} GB of disk"
    there = next(folder for folder in (work, *work.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE_BYTES:
        why = f"{there} has {free / 1e9:.1f} GB left, the builds take up to {name}."
        return Prerequisite(name, None, f"{why} Free some, or set XDG_CACHE_HOME to a larger disk.")
    return Prerequisite(name, f"{free / 1e9:.0f} GB in {there}")
