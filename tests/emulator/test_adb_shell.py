"""Conformance with the Python client adb-shell."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.exceptions import DeviceAuthError, PushFailedError

from tests.emulator.virtual_phone_parts import Phone


def test_shell_and_exec(adb_shell_device: AdbDeviceTcp) -> None:
    assert adb_shell_device.shell("getprop ro.product.model") == "Virtual Midrange 2021\n"
    assert adb_shell_device.exec_out("echo raw") == "raw\n"
    assert "".join(adb_shell_device.streaming_shell("echo a; echo b")) == "a\nb\n"


def test_a_v2_shell_tells_the_exit_code(adb_shell_device: AdbDeviceTcp) -> None:
    out = adb_shell_device._service(b"shell,v2,raw", b"echo hi; exit 7", decode=False)
    assert out == b"\x01\x03\x00\x00\x00hi\n" + b"\x03\x01\x00\x00\x00\x07"


def test_a_command_after_exec_takes_the_shells_place(adb_shell_device: AdbDeviceTcp) -> None:
    out = adb_shell_device._service(
        b"shell,v2,raw", b"cd /sdcard && exec test -f none; echo after", decode=False
    )
    assert out == b"\x03\x01\x00\x00\x00\x01"
    assert adb_shell_device.shell("cd /sdcard && exec pwd; echo after") == "/sdcard\n"


def test_push_pull_stat_list(adb_shell_device: AdbDeviceTcp, tmp_path: Path) -> None:
    data = os.urandom(3 * 1024 * 1024 + 17)
    (tmp_path / "there").write_bytes(data)
    adb_shell_device.push(str(tmp_path / "there"), "/sdcard/shell/there", mtime=1_600_000_000)
    assert adb_shell_device.stat("/sdcard/shell/there")[1:] == (len(data), 1_600_000_000)
    back = io.BytesIO()
    adb_shell_device.pull("/sdcard/shell/there", back)
    assert hashlib.sha256(back.getvalue()).digest() == hashlib.sha256(data).digest()
    assert [bytes(x.filename) for x in adb_shell_device.list("/sdcard/shell")] == [b"there"]
    assert adb_shell_device.stat("/sdcard/none") == (0, 0, 0)


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/sdcard/../../../../etc/passwd"])
def test_a_sync_path_cannot_leave_the_root(
    adb_shell_device: AdbDeviceTcp, tmp_path: Path, path: str
) -> None:
    assert adb_shell_device.stat(path) == (0, 0, 0)
    with pytest.raises(PushFailedError, match="Permission denied"):
        adb_shell_device.push(io.BytesIO(b"x"), path)
    assert "etc" not in adb_shell_device.shell("ls /")


def test_without_a_key_there_is_no_way_in(phone: Phone) -> None:
    device = AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=5)
    with pytest.raises(DeviceAuthError):
        device.connect(rsa_keys=[])
