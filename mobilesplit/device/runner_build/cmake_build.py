"""One way to build a runner: configure, compile, try, and keep the binary under a key of all that
it depends on.

Rule: a binary in the cache has started once; a build that fails leaves its log and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mobilesplit.device.runner_build.toolchain import (
    BuildFailed,
    find_cmake,
    find_ninja,
    identity,
)

Progress = Callable[[str], None]

BUILD_LIMIT_S = 300.0
"""The slowest build takes some 60 s on two busy cores; beyond this it is stuck."""
_SAY_EVERY_S = 0.5
"""How soon whoever is told of the build can end it."""


@dataclass(frozen=True)
class CMakeBuild:
    """A build of ``android_harness/`` with one compiler against one SDK."""

    harness: Path
    """The folder of the sources."""
    binary: str
    """File name of the runner."""
    compiler: list[str]
    """The C++ compiler as a command."""
    definitions: tuple[str, ...]
    """CMake's ``-D`` options, without that prefix."""
    depends_on: tuple[str, ...]
    """What else the binary depends on: versions, and digests of what was fetched."""
    starts_with: tuple[str, ...] = ()
    """Command prefix that runs the binary on this machine; empty for this machine's own code."""

    def key(self) -> str:
        """Names the binary in the cache; the SDK's place is part of it, it is in the run path."""
        flags = [os.environ.get(name, "") for name in ("CXXFLAGS", "LDFLAGS")]  # CMake reads them
        digest = hashlib.sha256()
        parts = (*self.depends_on, *self.definitions, *self.starts_with, *self.compiler)
        for part in (self.binary, *parts, identity(self.compiler), *flags):
            digest.update(part.encode() + b"\0")
        digest.update(sources_digest(self.harness).encode())
        return digest.hexdigest()[:24]

    def cached_binary(self, cache: Path, progress: Progress, title: str) -> Path:
        """The built runner: from ``cache``, or built now, with ``title`` said first.

        Raises:
            BuildFailed: it does not build or start; names the log.
            OSError: the cache cannot be written.
        """
        key = self.key()
        binary = cache / key / self.binary
        if binary.is_file():
            return binary
        tools = find_cmake(), find_ninja()
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f"{key}.lock"):
            if not binary.is_file():  # nobody else built it while we waited
                progress(title)
                self._build(*tools, cache, key, lambda: progress(title))
        return binary

    def _build(
        self, cmake: str, ninja: str, cache: Path, key: str, going_on: Callable[[], None]
    ) -> None:
        """Configure, compile, try, and move ``cache/key`` into place in one step."""
        deadline = time.monotonic() + BUILD_LIMIT_S
        log = cache / f"{key}.log"
        log.write_text("")
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as folder:
            tree = Path(folder) / "tree"
            configure = [
                cmake, "-S", str(self.harness), "-B", str(tree), "-G", "Ninja",
                f"-DCMAKE_MAKE_PROGRAM={ninja}",
                f"-DCMAKE_CXX_COMPILER={';'.join(self.compiler)}",
                "-DCMAKE_BUILD_TYPE=Release",
                *(f"-D{definition}" for definition in self.definitions),
            ]  # fmt: skip
            _run_logged(configure, log, deadline, going_on)
            _run_logged([cmake, "--build", str(tree)], log, deadline, going_on)
            # A binary that does not find its libraries is no runner.
            start = [*self.starts_with, str(tree / self.binary), "--version"]
            _run_logged(start, log, deadline, going_on)
            finished = Path(folder) / "finished"
            finished.mkdir()
            shutil.move(tree / self.binary, finished / self.binary)
            finished.rename(cache / key)
        log.unlink()


def sources_digest(harness: Path) -> str:
    """Digest of everything in ``harness`` that the runner is made of."""
    digest = hashlib.sha256()
    folders = [harness / "cmake", harness / "src"]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for source in [harness / "CMakeLists.txt", *sorted(found)]:
        name = str(source.relative_to(harness))
        digest.update(name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock; the kernel frees it if the holder dies. ``waiting`` is called once
    where somebody else holds it."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_in_group(
    command: list[str], output: IO[Any], deadline: float, going_on: Callable[[], None]
) -> int | None:
    """Run to the end, all that it says into ``output``; its exit code, or None where ``deadline``
    (monotonic) passed. ``going_on`` is called now and then, and ends it by raising.

    Raises:
        BuildFailed: it does not start.
    """
    try:
        # Its own process group: on a time-out or Ctrl-C the compilers must go too.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildFailed(f"{command[0]} does not start: {error.strerror}.") from None
    try:
        while (exit_code := _exit_code_within(process, _SAY_EVERY_S)) is None:
            going_on()
            if time.monotonic() > deadline:
                return None
        return exit_code
    finally:
        if process.poll() is None:
            # ninja gives each compiler a group of its own, and ends them when asked nicely.
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2.0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _run_logged(
    command: list[str], log: Path, deadline: float, going_on: Callable[[], None]
) -> None:
    with log.open("ab") as output:
        exit_code = run_in_group(command, output, deadline, going_on)
    if exit_code is None:
        raise BuildFailed(f"Building the runner took more than {BUILD_LIMIT_S:g} s; log: {log}.")
    if exit_code != 0:
        raise BuildFailed(f"The runner does not build: {_last_error(log)}; log: {log}.")


def _exit_code_within(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


def _last_error(log: Path) -> str:
    """The last line of the log that names an error, else the last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no output"])[-1][:300]
