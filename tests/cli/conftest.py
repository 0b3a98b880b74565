"""Runs the real command in a home of its own, and looks for anything that it leaves running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from mobilesplit.cli.app import run as run_command_line

LIMIT_S = 400.0
TINY = Path(__file__).parent / "tiny_model.py"


@dataclass(frozen=True)
class Home:
    """A place for keys and state that nothing else uses; the build cache is kept between runs."""

    path: Path
    cache: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ANDROID_")}
        return {
            **inherited,
            "HOME": str(self.path),
            "XDG_STATE_HOME": str(self.path / "state"),
            "XDG_CACHE_HOME": str(self.cache),
            "COLUMNS": "80",
        }

    def start(
        self, *words: object, stderr: IO[str] | int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "mobilesplit", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=self.environment,
            start_new_session=True,
        )

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        try:
            stdout, stderr = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def json(self, *words: object) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def serving(self, bundle: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
        """A server and its ready line."""
        process = self.start("serve", bundle, "--port", 0, "--json")
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield process, json.loads(line)
        finally:
            process.kill()
            process.communicate()

    @contextlib.contextmanager
    def demo_at_step(self, step: int, out: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """A demo in the middle of a step (1 to 9), and the file of its stderr."""
        said = self.path / "stderr"
        with said.open("w") as file:
            process = self.start("demo", "--out", out, stderr=file)
        try:
            # A step is printed when it is done: then the next one has begun.
            while step > 1 and f"[{step - 1}/" not in said.read_text():
                assert process.poll() is None, said.read_text()
                time.sleep(0.02)
            yield process, said
        finally:
            process.kill()
            process.communicate()

    def running(self) -> dict[int, str]:
        """Command lines, by process id, of processes that carry this home in their environment."""
        marker = str(self.path).encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if marker in (folder / "environ").read_bytes():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if command:  # a zombie has none
                        found[int(folder.name)] = command
        return found

    def left_running(self) -> list[str]:
        """The command lines alone."""
        return list(self.running().values())

    def wait_until_something_runs(self, least: int = 2) -> None:
        """Until the command itself and one child are there: its handlers are then in place."""
        deadline_s = time.monotonic() + 30
        while len(self.left_running()) < least:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def wait_until_nothing_runs(self, limit_s: float = 10.0) -> None:
        deadline_s = time.monotonic() + limit_s
        while self.left_running():
            assert time.monotonic() < deadline_s, self.left_running()
            time.sleep(0.05)


@dataclass(frozen=True)
class Done:
    """What a command that ran in this process left."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Iterator[Command]:
    """Runs a command in this process, where torch is loaded; catches all it says, 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CACHE_HOME", str(request.config.cache.mkdir("mobilesplit")))
    before = signal.getsignal(signal.SIGTERM)

    def run_words(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["mobilesplit", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_command_line()
        said = capfd.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    yield run_words
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Home]:
    place = Home(tmp_path / "home", Path(request.config.cache.mkdir("mobilesplit")))
    place.path.mkdir()
    yield place
    with contextlib.suppress(AssertionError):
        place.wait_until_nothing_runs(limit_s=0.0)
        return
    place.run("emulator", "stop", "--all")
    place.wait_until_nothing_runs()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The user's own model, exported by the command."""
    folder = tmp_path_factory.mktemp("tiny")
    place = Home(folder / "home", Path(request.config.cache.mkdir("mobilesplit")))
    place.path.mkdir()
    done = place.run("export", f"{TINY}:build", "--out", folder / "bundle")
    assert done.returncode == 0, done.stderr
    return folder / "bundle"


def interrupt(process: subprocess.Popen[str]) -> None:
    """What a terminal does on Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)
