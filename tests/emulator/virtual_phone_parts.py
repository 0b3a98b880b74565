"""What the tests of the virtual phone share: the stand-in for the runner, adb, a phone."""

from __future__ import annotations

import os
import socket
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import adbutils

from mobilesplit.emulator.phones import PhoneRecord

RUNNER_BYTES = b"the bytes that a client pushes; never executed"
RUNNER_PATH = "/data/local/tmp/mobilesplit/runner"

STAND_IN = textwrap.dedent(
    """
    import os, signal, sys, time

    what = sys.argv[1] if len(sys.argv) > 1 else "session"
    if what in ("session", "serve"):
        while header := sys.stdin.buffer.read(4):
            body = sys.stdin.buffer.read(int.from_bytes(header, "little"))
            with open(os.environ["MOBILESPLIT_RUN_COUNTER"], "ab") as counter:
                counter.write(b"x")
            sys.stdout.buffer.write(header + body)
            sys.stdout.buffer.flush()
        sys.stderr.write("bye")
        if what == "serve":  # until it is killed
            time.sleep(600)
    elif what == "show":
        print(sys.argv[2:], os.getcwd(), sorted(os.environ), os.environ["MOBILESPLIT_SLOWDOWN"])
        sys.exit(5)
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "burn":
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    elif what == "hang":
        print(os.getpid(), flush=True)
        time.sleep(600)
    """
)


@dataclass
class Phone:
    """A running virtual phone and the folder that holds all phones of its test module."""

    record: PhoneRecord
    phones: Path

    @property
    def port(self) -> int:
        return int(self.record.serial.rsplit(":", 1)[1])


@dataclass
class Adb:
    """The real adb binary with a server of its own, looking at one phone."""

    binary: str
    server_port: int
    serial: str
    environment: dict[str, str]

    def __call__(
        self, *arguments: str, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        argv = [self.binary, "-P", str(self.server_port), "-s", self.serial, *arguments]
        return subprocess.run(
            argv, env=self.environment, capture_output=True, timeout=30, input=stdin
        )

    def text(self, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == 0, done
        return done.stdout.decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def adb_for(serial: str, home: Path) -> Iterator[Adb]:
    port = free_port()
    binary = str(Path(adbutils.__file__).parent / "binaries" / "adb")
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "ADB_SERVER_SOCKET": f"tcp:localhost:{port}",
        "ADB_MDNS": "0",
    }
    adb = Adb(binary, port, serial, environment)
    try:
        adb("connect", serial)
        yield adb
    finally:
        adb("kill-server")
