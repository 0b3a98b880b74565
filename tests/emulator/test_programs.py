"""The runner on the phone: the allow list, sessions, counting, and its end."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adb_shell import constants
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.adb_message import AdbMessage

from mobilesplit.emulator.phones import phone_stats
from tests.emulator.virtual_phone_parts import RUNNER_BYTES, RUNNER_PATH, Adb, Phone


@pytest.fixture(autouse=True)
def _runner_is_pushed(adb_shell_device: AdbDeviceTcp) -> None:
    adb_shell_device.push(io.BytesIO(RUNNER_BYTES), RUNNER_PATH, st_mode=0o100755)


class Session:
    """A v2 shell stream by adb-shell's private parts."""

    def __init__(self, device: AdbDeviceTcp, command: str) -> None:
        self.device = device
        self.info = device._open(b"shell,v2,raw:" + command.encode(), 10, 10, None)
        self.packets: dict[int, bytes] = {}
        self._rest = b""

    def send(self, packet_id: int, data: bytes) -> None:
        message = struct.pack("<BI", packet_id, len(data)) + data
        self.device._io_manager.send(
            AdbMessage(constants.WRTE, self.info.local_id, self.info.remote_id, message), self.info
        )

    def read_until(self, done: Callable[[], bool]) -> None:
        while not done():
            kind, data = self.device._read_until(
                [constants.WRTE, constants.OKAY, constants.CLSE], self.info
            )
            if kind == constants.CLSE:
                return
            self._rest += data if kind == constants.WRTE else b""
            while len(self._rest) >= 5:
                packet_id, nbytes = struct.unpack_from("<BI", self._rest)
                if len(self._rest) < 5 + nbytes:
                    break
                self.packets[packet_id] = (
                    self.packets.get(packet_id, b"") + self._rest[5 : 5 + nbytes]
                )
                self._rest = self._rest[5 + nbytes :]

    def ask(self, body: bytes) -> bytes:
        self.packets[1] = b""
        self.send(0, struct.pack("<I", len(body)) + body)
        self.read_until(lambda: len(self.packets[1]) >= len(body) + 4)
        return self.packets[1][4:]


def wait_for(holds: Callable[[], bool]) -> None:
    """For what another process does; the limit is only there to fail."""
    end_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def stats(phone: Phone) -> dict[str, int | float]:
    return phone_stats("tested", phone.phones)


def test_a_session_goes_both_ways_and_is_counted(
    adb_shell_device: AdbDeviceTcp, phone: Phone
) -> None:
    before = stats(phone)
    session = Session(adb_shell_device, RUNNER_PATH)
    for nbytes in (1, 150_000, 900_000):
        body = os.urandom(nbytes)
        assert session.ask(body) == body
    assert stats(phone)["runner_starts"] == before["runner_starts"] + 1
    assert stats(phone)["inferences"] == before["inferences"] + 3
    session.send(4, b"")
    session.read_until(lambda: 3 in session.packets)
    assert session.packets[3] == b"\0" and session.packets[2] == b"bye"


@pytest.fixture
def hanging(adb_shell_device: AdbDeviceTcp) -> Iterator[tuple[Session, int]]:
    session = Session(adb_shell_device, f"{RUNNER_PATH} hang")
    session.read_until(lambda: session.packets.get(1, b"").endswith(b"\n"))
    pid = int(session.packets[1])
    assert is_running(pid)
    yield session, pid
    wait_for(lambda: not is_running(pid))


def test_it_dies_with_the_connection(hanging: tuple[Session, int]) -> None:
    session, pid = hanging
    session.device.close()
    wait_for(lambda: not is_running(pid))


def test_it_dies_with_the_stream(hanging: tuple[Session, int]) -> None:
    session, pid = hanging
    info = session.info
    session.device._io_manager.send(AdbMessage(constants.CLSE, info.local_id, info.remote_id), info)
    wait_for(lambda: not is_running(pid))


def test_it_is_found_and_killed_by_the_phones_own_pid(
    hanging: tuple[Session, int], adb: Adb
) -> None:
    session, pid = hanging
    phone_pid = adb.text("shell", "pidof runner").strip()
    assert int(phone_pid) != pid and RUNNER_PATH in adb.text("shell", "ps")
    adb.text("shell", f"kill {phone_pid}")
    session.read_until(lambda: 3 in session.packets)
    assert session.packets[3] == bytes([0x80 | 15])


def test_arguments_cwd_and_environment_are_the_phones(adb: Adb, phone: Phone) -> None:
    done = adb(
        "shell",
        "cd /data/local/tmp; LD_PRELOAD=/sdcard/x.so mobilesplit/runner show "
        "/sdcard/m.pte --out=/../../etc/passwd ../../../../x plain -n 3",
    )
    root = phone.record.state / "root"
    shown = done.stdout.decode()
    assert done.returncode == 5
    for path in (f"'{root}/sdcard/m.pte'", f"'--out={root}/etc/passwd'", f"'{root}/x'"):
        assert path in shown
    assert "'plain', '-n', '3'" in shown and f" {root}/data/local/tmp " in shown
    assert "LD_PRELOAD" not in shown and shown.rstrip().endswith("4.0")


@pytest.mark.parametrize(
    ("line", "code", "complaint"),
    [
        ("touch", 127, "not found"),
        ("/data/local/tmp/none", 127, "not found"),
        ("/data/local/tmp", 126, "can't execute: Permission denied"),
        ("chmod 644 /sdcard/r; /sdcard/r", 126, "can't execute: Permission denied"),
        ("echo x > /sdcard/evil; chmod 755 /sdcard/evil; /sdcard/evil", 126, "allow list"),
        (f"{RUNNER_PATH} -f/etc/passwd", 126, "argument of its own"),
        (f"{RUNNER_PATH} die", 0x80 | 9, ""),
    ],
)
def test_what_is_not_allowed_is_refused(
    adb: Adb, adb_shell_device: AdbDeviceTcp, line: str, code: int, complaint: str
) -> None:
    adb_shell_device.push(io.BytesIO(RUNNER_BYTES), "/sdcard/r", st_mode=0o100644)
    done = adb("shell", line)
    assert done.returncode == code and complaint in done.stderr.decode()


def test_a_mask_of_the_phones_cores_becomes_one_of_as_many_of_the_hosts(adb: Adb) -> None:
    available = sorted(os.sched_getaffinity(0))
    for mask, count in (("80", 1), ("f0", 4)):
        shown = adb("shell", f"{RUNNER_PATH} show --core-mask {mask}").stdout.decode()
        expected = sum(1 << core for core in available[:count])
        assert f"'--core-mask', '{expected:x}'" in shown


def test_a_program_whose_reader_leaves_does_not_hang(adb: Adb) -> None:
    done = adb("shell", f"{RUNNER_PATH} show | true", stdin=b"")
    assert done.returncode == 0


def test_work_shows_on_the_cpu_rail_scaled_by_the_slowdown(adb: Adb, phone: Phone) -> None:
    def cpu_uj() -> int:
        text = adb.text("shell", "cat /sys/bus/iio/devices/iio:device0/energy_value")
        return int(text.splitlines()[1].split(", ")[1])

    before_uj = cpu_uj()
    adb.text("shell", f"{RUNNER_PATH} burn")
    # 0.2 s of host CPU time x slowdown 4 x 0.9 W per core, plus the start of Python.
    assert cpu_uj() - before_uj >= 0.2 * 4 * 0.9 * 1e6


def test_the_pushed_bytes_are_never_executed(adb: Adb, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {marker}\n")
    script.chmod(0o755)
    adb.text("push", str(script), "/sdcard/script")
    # Our own shell reads it, and knows no `touch`.
    for line in ("chmod 755 /sdcard/script; /sdcard/script", "sh /sdcard/script"):
        assert adb("shell", line).returncode in (126, 127)
    assert not marker.exists()
