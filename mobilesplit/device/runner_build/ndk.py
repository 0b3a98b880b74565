"""Android's NDK on this machine: where it is looked for, and whether it is new enough.

Source of the order: Android's and ExecuTorch's build pages; within an SDK the newest NDK is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LEAST_MAJOR = 28
"""r28 is what ExecuTorch is built with; its linker aligns to 16 KB pages, as Android 15 asks."""
SYSTEM_FOLDER = Path("/opt/ndk")


@dataclass(frozen=True)
class Ndk:
    """An NDK that was found."""

    folder: Path
    """Its top folder."""
    revision: str
    """``Pkg.Revision`` of its source.properties: 28.2.13676358 is r28c."""

    @property
    def toolchain_file(self) -> Path:
        """For CMake."""
        return self.folder / "build" / "cmake" / "android.toolchain.cmake"

    @property
    def new_enough(self) -> bool:
        """Whether ExecuTorch builds with it."""
        return int(self.revision.split(".")[0]) >= LEAST_MAJOR

    @property
    def strip(self) -> Path | None:
        """Its llvm-strip for this machine, whichever that is."""
        found = self.folder.glob("toolchains/llvm/prebuilt/*/bin/llvm-strip")
        return next(iter(sorted(found)), None)


def find_ndk(environment: Mapping[str, str], system_folder: Path | None = None) -> Ndk | None:
    """The first NDK of the search order, whose end ``system_folder`` None is `SYSTEM_FOLDER`;
    None where there is none."""
    for folder in _candidates(environment, system_folder or SYSTEM_FOLDER):
        revision = _revision(folder)
        if revision is not None:
            return Ndk(folder, revision)
    return None


def _candidates(environment: Mapping[str, str], system_folder: Path) -> Iterator[Path]:
    for name in ("ANDROID_NDK", "ANDROID_NDK_HOME"):
        if environment.get(name):
            yield Path(environment[name])
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        if environment.get(name):
            yield from sorted(
                (Path(environment[name]) / "ndk").glob("*"), key=_as_numbers, reverse=True
            )
    yield system_folder


def _as_numbers(folder: Path) -> list[int]:
    """For sorting: 28.10 is newer than 28.9."""
    return [int(number) for number in re.findall(r"\d+", folder.name)]


def _revision(folder: Path) -> str | None:
    try:
        text = (folder / "source.properties").read_text()
    except OSError:
        return None
    found = re.search(r"^Pkg\.Revision\s*=\s*(\d[\w.]*)", text, re.MULTILINE)
    return found[1] if found else None
