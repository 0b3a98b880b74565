"""What a shell on the phone does when its host goes: the guard that restores settings."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from adb_shell.adb_device import AdbDeviceTcp

from tests.emulator.virtual_phone_parts import Adb

KEY = "screen_off_timeout"
RESTORE = "/data/local/tmp/mobilesplit/restore.sh"
GUARD = f"trap '' HUP INT TERM; echo up; read answer; test \"$answer\" = done || sh {RESTORE}"


def wait_for(holds: Callable[[], bool]) -> None:
    """For what another process does; the limit is only there to fail."""
    end_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _a_setting_was_changed(adb: Adb) -> None:
    adb.text("shell", "mkdir -p /data/local/tmp/mobilesplit")
    adb.text("shell", f"echo 'settings put system {KEY} 60000' > {RESTORE}")
    adb.text("shell", f"echo rm {RESTORE} >> {RESTORE}; settings put system {KEY} 1")


def setting(adb: Adb) -> str:
    return adb.text("shell", f"settings get system {KEY}").strip()


@pytest.fixture
def client(adb: Adb, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A real adb client that runs a command line, which has begun."""
    argv = [adb.binary, "-P", str(adb.server_port), "-s", adb.serial, "shell", request.param]
    with subprocess.Popen(
        argv, env=adb.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        yield process
        process.kill()


@pytest.mark.parametrize("client", [GUARD], indirect=True)
def test_a_killed_client_has_the_setting_restored(
    client: subprocess.Popen[bytes], adb: Adb
) -> None:
    assert setting(adb) == "1"
    os.kill(client.pid, signal.SIGKILL)
    wait_for(lambda: setting(adb) == "60000")
    wait_for(lambda: adb("shell", f"test -f {RESTORE}").returncode == 1)


@pytest.mark.parametrize("client", [GUARD], indirect=True)
def test_a_client_that_says_done_has_nothing_restored(
    client: subprocess.Popen[bytes], adb: Adb
) -> None:
    assert client.stdin is not None
    client.stdin.write(b"done\n")
    client.stdin.flush()
    assert client.wait() == 0
    assert setting(adb) == "1"


@pytest.mark.parametrize(
    "client",
    [
        f"echo up; cat > /dev/null; sh {RESTORE}",
        f"trap '' HUP; trap - HUP; echo up; cat; {RESTORE}",
    ],
    indirect=True,
)
def test_a_shell_that_does_not_trap_hup_dies_with_its_client(
    client: subprocess.Popen[bytes], adb: Adb
) -> None:
    client.kill()
    client.wait()
    # The server closes the stream before it serves the next client of the same connection.
    for _ in range(5):
        assert setting(adb) == "1"


def test_a_lost_connection_has_it_restored_too(adb_shell_device: AdbDeviceTcp, adb: Adb) -> None:
    stream = adb_shell_device._open(f"shell,v2,raw:{GUARD}".encode(), 10, 10, None)
    adb_shell_device._io_manager.close()
    wait_for(lambda: setting(adb) == "60000")
    assert stream.local_id


def test_output_to_a_lost_host_ends_a_shell_unless_it_traps_pipe(
    adb_shell_device: AdbDeviceTcp, adb: Adb
) -> None:
    lines = {
        "dies": "trap '' HUP; cat > /dev/null; echo x; echo x > /sdcard/dies",
        "lives": "trap '' HUP PIPE; cat > /dev/null; echo x; echo x > /sdcard/lives",
    }
    for line in lines.values():
        adb_shell_device._open(f"shell,v2,raw:{line}".encode(), 10, 10, None)
    adb_shell_device._io_manager.close()
    wait_for(lambda: adb("shell", "test -f /sdcard/lives").returncode == 0)
    assert adb("shell", "test -f /sdcard/dies").returncode == 1
