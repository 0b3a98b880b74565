"""Conformance with Google's adb (the binary inside adbutils)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import adbutils
import pytest

from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import start_phone, stop_phone
from tests.emulator.virtual_phone_parts import RUNNER_BYTES, RUNNER_PATH, Adb, adb_for


def test_it_is_listed_as_a_device(adb: Adb) -> None:
    line = next(x for x in adb.text("devices", "-l").splitlines() if adb.serial in x)
    assert line.split()[1] == "device"
    assert "model:Virtual_Midrange_2021" in line


def test_properties_come_from_the_description(adb: Adb) -> None:
    assert adb.text("shell", "getprop ro.product.model") == "Virtual Midrange 2021\n"
    assert adb.text("shell", "getprop ro.mobilesplit.emulated") == "1\n"
    assert "[ro.kernel.qemu]: [1]" in adb.text("shell", "getprop")


@pytest.mark.parametrize(
    ("line", "code", "stdout", "stderr"),
    [
        ("exit 7", 7, b"", b""),
        ("echo out; echo err >&2", 0, b"out\n", b"err\n"),
        ("foo", 127, b"", b"/system/bin/sh: foo: inaccessible or not found\n"),
        ("cat /nope", 1, b"", b"cat: /nope: No such file or directory\n"),
        ("false || echo $?; true && echo $?", 0, b"1\n0\n", b""),
        ("cd /data/local/tmp && pwd; cd /sdcard | pwd", 0, b"/data/local/tmp\n" * 2, b""),
        ("X=a; echo $X 'b c' | cat", 0, b"a b c\n", b""),
        ("cat /nope 2>&1 > /dev/null | cat", 0, b"cat: /nope: No such file or directory\n", b""),
        ("test -d /sdcard && [ -f /proc/cpuinfo ] && ! true", 127, b"", b"!"),
        ("nproc; id", 0, b"8\nuid=2000(shell)", b""),
        ("cat /sys/devices/system/cpu/cpu7/cpufreq/cpuinfo_max_freq", 0, b"2200000\n", b""),
        ("echo $(id)", 2, b"", b"/system/bin/sh: syntax error"),
        ("/system/bin/echo hi", 0, b"hi\n", b""),
        ("echo x > /proc/cpuinfo", 1, b"", b"/system/bin/sh: can't open /proc/cpuinfo"),
        ("sleep x", 1, b"", b"sleep: usage"),
        ("kill 1", 1, b"", b"kill: 1: No such process"),
    ],
)
def test_command_lines(adb: Adb, line: str, code: int, stdout: bytes, stderr: bytes) -> None:
    done = adb("shell", line)
    assert done.returncode == code
    if stdout.endswith(b"\n"):
        assert done.stdout == stdout
    assert done.stdout.startswith(stdout) and (stderr in done.stderr)
    assert stderr or not done.stderr


def test_files_are_made_moved_listed_and_removed(adb: Adb) -> None:
    adb.text("shell", "mkdir -p /sdcard/a/b && echo one > /sdcard/a/x && echo two >> /sdcard/a/x")
    assert adb.text("shell", "cat < /sdcard/a/x") == "one\ntwo\n"
    adb.text("shell", "mv /sdcard/a/x /sdcard/a/b; chmod 640 /sdcard/a/b/x")
    assert adb.text("shell", "stat -c '%s %a' /sdcard/a/b/*") == "8 640\n"
    assert adb.text("shell", "ls /sdcard/a") == "b\n"
    assert adb("shell", "rm /sdcard/a").returncode == 1
    adb.text("shell", "rm -rf /sdcard/a /sdcard/never")
    assert adb("shell", "ls /sdcard/a").returncode == 1


def test_20_megabytes_go_there_and_back(adb: Adb, tmp_path: Path) -> None:
    data = os.urandom(20 * 1024 * 1024)
    (tmp_path / "there").write_bytes(data)
    adb.text("push", str(tmp_path / "there"), "/data/local/tmp/new/folder/big")
    digest = adb.text("shell", "sha256sum /data/local/tmp/new/folder/big").split()[0]
    assert digest == hashlib.sha256(data).hexdigest()
    adb.text("pull", "/data/local/tmp/new/folder/big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data
    adb.text("shell", "rm -r /data/local/tmp/new")


def test_a_folder_is_pushed_and_pulled(adb: Adb, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    (source / "deeper").mkdir(parents=True)
    (source / "deeper" / "x").write_text("x")
    (source / "empty").write_text("")
    adb.text("push", str(source), "/sdcard/")
    adb.text("pull", "/sdcard/tree", str(tmp_path / "back"))
    assert (tmp_path / "back/deeper/x").read_text() == "x"
    assert (tmp_path / "back/empty").read_bytes() == b""


def test_pull_of_a_missing_path_and_push_outside_fail_with_words(adb: Adb, tmp_path: Path) -> None:
    done = adb("pull", "/sdcard/none", str(tmp_path / "x"))
    assert done.returncode == 1 and b"No such file or directory" in done.stderr
    (tmp_path / "x").write_bytes(bytes(300_000))
    done = adb("push", str(tmp_path / "x"), "/etc/x")
    assert done.returncode == 1 and b"Permission denied" in done.stderr
    assert adb.text("shell", "echo still here") == "still here\n"


def test_a_moving_gauge_can_be_pulled(adb: Adb, tmp_path: Path) -> None:
    path = "/sys/bus/iio/devices/iio:device0/energy_value"
    adb.text("pull", path, str(tmp_path / "value"))
    assert (tmp_path / "value").read_text().startswith("t=")


def test_a_script_on_stdin_runs_line_by_line(adb: Adb) -> None:
    done = adb("shell", stdin=b"cd /sdcard\npwd\nexit 3\necho never\n")
    assert (done.returncode, done.stdout) == (3, b"/sdcard\n")


def test_exec_out_is_raw(adb: Adb) -> None:
    assert adb("exec-out", "echo raw").stdout == b"raw\n"


def test_forwarding_is_refused_not_hung(adb: Adb) -> None:
    assert adb("shell", "true").returncode == 0
    assert adb("reverse", "tcp:1", "tcp:2").returncode != 0


def test_adbutils_gets_code_and_streams(adb: Adb) -> None:
    client = adbutils.AdbClient(host="127.0.0.1", port=adb.server_port)
    device = client.device(adb.serial)
    result = device.shell2("echo out; echo err >&2; exit 9", v2=True)
    assert (result.returncode, result.stdout, result.stderr) == (9, "out\n", "err\n")
    device.sync.push(RUNNER_BYTES, RUNNER_PATH + ".copy")
    assert device.sync.read_bytes(RUNNER_PATH + ".copy") == RUNNER_BYTES
    assert device.prop.model == "Virtual Midrange 2021"


def test_a_refusing_phone_is_unauthorized(tmp_path: Path) -> None:
    record = start_phone(
        load_description("budget-2017"),
        name="refuses",
        auth="refuse",
        allowed_programs={},
        state_root=tmp_path,
        exit_with_parent=True,
    )
    try:
        for adb in adb_for(record.serial, tmp_path):
            assert f"{record.serial}\tunauthorized" in adb.text("devices")
            assert adb("shell", "true").returncode != 0
    finally:
        stop_phone("refuses", tmp_path)
