"""Builds the runner for this machine on first use and keeps it in a cache.

The runner is what the virtual phone executes. One rule: whatever goes wrong, there is a runner:
the Python one takes over, and says why.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobilesplit import resources

Kind = Literal["cpp", "python"]
Progress = Callable[[str], None]

BINARY_NAME = "mobilesplit-runner"
BUILD_LIMIT_S = 300.0
"""The build takes some 10 s on two busy cores; beyond this it is stuck."""
COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True)
class Runner:
    """A runner that starts on this machine."""

    kind: Kind
    """``cpp``: the native program; ``python``: the same in Python."""
    path: Path
    """The file that is pushed to the phone."""
    argv: tuple[str, ...]
    """Command prefix that runs it here; the runner's own arguments follow."""
    sha256: str
    """Digest of the file."""
    why: str | None = None
    """Why the Python runner took over; None where nothing went wrong."""


class _BuildFailed(Exception):
    """No C++ runner: the message says why, in a sentence."""


def build_host_runner(
    *,
    prefer: Kind = "cpp",
    cache_root: Path | None = None,
    progress: Progress | None = None,
) -> Runner:
    """The runner for this machine: from the cache, freshly built, or the Python one.

    ``cache_root`` None is ``$XDG_CACHE_HOME/mobilesplit``; ``progress`` gets a sentence before
    each slow step. Never fails for want of a compiler: see ``Runner.why``.
    """
    harness = resources.folder("android_harness")
    if prefer == "python":
        return _python_runner(harness, why=None)
    root = cache_root if cache_root is not None else _default_cache_root()
    try:
        binary = _cached_binary(harness, root / "runner", progress or (lambda _: None))
    except (_BuildFailed, OSError) as error:
        return _python_runner(harness, why=str(error))
    return Runner("cpp", binary, (str(binary),), _sha256(binary))


def _default_cache_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobilesplit"


def _python_runner(harness: Path, *, why: str | None) -> Runner:
    path = harness / "python_runner.py"
    return Runner("python", path, (sys.executable, str(path)), _sha256(path), why)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _cached_binary(harness: Path, cache: Path, progress: Progress) -> Path:
    compiler = _find_compiler()
    sdk = _find_sdk()
    key = _cache_key(harness, sdk, compiler)
    binary = cache / key / BINARY_NAME
    if binary.is_file():
        return binary
    cmake, ninja = _find_tool("cmake", "CMAKE_BIN_DIR"), _find_tool("ninja", "BIN_DIR")
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{key}.lock"):
        if not binary.is_file():  # nobody else built it while we waited
            progress("Building the runner (once, some 10 s).")
            _build(harness, sdk, compiler, cmake, ninja, cache, key)
    return binary


def _find_compiler() -> list[str]:
    """The C++ compiler as a command; ``$CXX`` wins, as everywhere."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    for command in [chosen] if chosen else [[name] for name in COMPILERS]:
        found = shutil.which(command[0])
        if found:
            return [found, *command[1:]]
    looked_for = shlex.join(chosen) if chosen else ", ".join(COMPILERS)
    raise _BuildFailed(f"No C++ compiler was found (looked for {looked_for}).")


def _find_sdk() -> Path:
    """The executorch package, which is a C++ SDK too; not imported, that would be slow."""
    spec = importlib.util.find_spec("executorch")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        if (Path(place) / "share" / "cmake" / "executorch-config.cmake").is_file():
            return Path(place)
    raise _BuildFailed("The installed executorch package carries no C++ SDK.")


def _find_tool(name: str, folder_constant: str) -> str:
    """cmake or ninja: PyPI's package first, because a system's cmake is often too old."""
    with contextlib.suppress(ImportError, AttributeError):
        packaged = Path(getattr(importlib.import_module(name), folder_constant)) / name
        if packaged.is_file():
            return str(packaged)
    beside_python = Path(sys.executable).parent / name
    found = str(beside_python) if beside_python.is_file() else shutil.which(name)
    if found is None:
        raise _BuildFailed(f"{name} was not found; `pip install {name}` brings it.")
    return found


def _sources(harness: Path) -> list[Path]:
    return [harness / "CMakeLists.txt", *sorted((harness / "src").iterdir())]


def _cache_key(harness: Path, sdk: Path, compiler: list[str]) -> str:
    """Everything that the binary depends on; the SDK's place too, it is in the run path."""
    try:
        identity = subprocess.run(
            [*compiler, "--version"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _BuildFailed(f"The compiler {compiler[0]} does not start: {error}.") from None
    flags = [os.environ.get(name, "") for name in ("CXXFLAGS", "LDFLAGS")]  # CMake reads them
    digest = hashlib.sha256()
    version = importlib.metadata.version("executorch")
    for part in (version, str(sdk), *compiler, identity, *flags):
        digest.update(part.encode() + b"\0")
    for source in _sources(harness):
        digest.update(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:24]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel frees it if the holder dies."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(
    harness: Path, sdk: Path, compiler: list[str], cmake: str, ninja: str, cache: Path, key: str
) -> None:
    """Configure, compile, try, and move ``cache/key`` into place in one step."""
    deadline = time.monotonic() + BUILD_LIMIT_S
    log = cache / f"{key}.log"
    log.write_text("")
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as folder:
        tree = Path(folder) / "tree"
        configure = [
            cmake, "-S", str(harness), "-B", str(tree), "-G", "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={ninja}",
            f"-DCMAKE_CXX_COMPILER={';'.join(compiler)}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-Dexecutorch_DIR={sdk / 'share' / 'cmake'}",
        ]  # fmt: skip
        _run_logged(configure, log, deadline)
        _run_logged([cmake, "--build", str(tree)], log, deadline)
        # A binary that does not find its libraries is no runner.
        _run_logged([str(tree / BINARY_NAME), "--version"], log, deadline)
        finished = Path(folder) / "finished"
        finished.mkdir()
        shutil.move(tree / BINARY_NAME, finished / BINARY_NAME)
        finished.rename(cache / key)
    log.unlink()


def _run_logged(command: list[str], log: Path, deadline: float) -> None:
    with log.open("ab") as output:
        # Its own process group: on a time-out or Ctrl-C the compilers must go too.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code = process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            message = f"Building the runner took more than {BUILD_LIMIT_S:g} s; log: {log}."
            raise _BuildFailed(message) from None
        finally:
            if process.poll() is None:
                # ninja gives each compiler a group of its own, and ends them when asked nicely.
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=2.0)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if exit_code != 0:
        raise _BuildFailed(f"The runner does not build: {_last_error(log)}; log: {log}.")


def _last_error(log: Path) -> str:
    """The last line of the log that names an error, else the last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no output"])[-1][:300]
