"""What a build needs and where it is looked for: compilers, CMake, Ninja, the C++ SDKs in wheels.

Rule: what is missing is a `BuildFailed` with a sentence that names it; nothing is installed here.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")


class BuildFailed(Exception):
    """There is no such runner: the message says why, in a sentence."""


def find_compiler() -> list[str]:
    """The C++ compiler for this machine as a command; ``$CXX`` wins, as everywhere."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    for command in [chosen] if chosen else [[name] for name in COMPILERS]:
        found = shutil.which(command[0])
        if found:
            return [found, *command[1:]]
    looked_for = shlex.join(chosen) if chosen else ", ".join(COMPILERS)
    raise BuildFailed(f"No C++ compiler was found (looked for {looked_for}).")


def identity(compiler: list[str]) -> str:
    """What the compiler says of itself: another version makes another binary."""
    try:
        return subprocess.run(
            [*compiler, "--version"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"The compiler {compiler[0]} does not start: {error}.") from None


def find_cmake() -> str:
    """PyPI's CMake first, because a system's is often too old."""
    return _find_tool("cmake", "CMAKE_BIN_DIR")


def find_ninja() -> str:
    """Ninja, from PyPI's package or the system."""
    return _find_tool("ninja", "BIN_DIR")


def _find_tool(name: str, folder_constant: str) -> str:
    with contextlib.suppress(ImportError, AttributeError):
        packaged = Path(getattr(importlib.import_module(name), folder_constant)) / name
        if packaged.is_file():
            return str(packaged)
    beside_python = Path(sys.executable).parent / name
    found = str(beside_python) if beside_python.is_file() else shutil.which(name)
    if found is None:
        raise BuildFailed(f"{name} was not found; `pip install {name}` brings it.")
    return found


def package_folder(name: str, marker: str) -> Path | None:
    """Where the package ``name`` lies, if the file ``marker`` is in it; not imported, that would
    be slow."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    return next((Path(place) for place in places if (Path(place) / marker).is_file()), None)
