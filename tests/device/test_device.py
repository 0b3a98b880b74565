"""What a device does is the same over every transport; tested on a virtual phone, and through the
real adb's server."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobilesplit.core.errors import DeviceError, DeviceGoneError, DeviceTimeoutError
from mobilesplit.device import file_sync
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.device import Device, ShellResult
from mobilesplit.device.push import push_file
from mobilesplit.emulator.fault_injection import clear_faults, set_faults
from mobilesplit.emulator.phones import stop_phone
from tests.device.transport_parts import WAYS, adb_server, connected, running_phone

FOLDER = "/data/local/tmp"
Reachable = tuple[str, int | None, Path]


@pytest.fixture(scope="module")
def reachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reachable]:
    """A phone's serial, the port of a server that knows it, and the folder of all."""
    root = tmp_path_factory.mktemp("contract")
    with (
        running_phone("contract", root / "state") as phone,
        adb_server([phone.serial]) as port,
    ):
        yield phone.serial, port, root


@pytest.fixture(params=WAYS)
def device(reachable: Reachable, request: pytest.FixtureRequest) -> Iterator[Device]:
    serial, port, root = reachable
    with connected(request.param, serial, port, root / "keys") as device:
        yield device


@pytest.mark.parametrize("code", [0, 7, 137, 255])
def test_a_command_gives_its_exit_code_and_streams_apart(device: Device, code: int) -> None:
    result = device.shell(f"echo out; no-such-command; exit {code}")
    assert (result.exit_code, result.text) == (code, "out")
    assert "no-such-command" in result.stderr


def test_a_failing_command_is_an_error_with_serial_command_code_and_stderr(device: Device) -> None:
    with pytest.raises(DeviceError) as caught:
        device.check_shell("cat /data/local/tmp/nothing")
    text = str(caught.value)
    assert text.startswith(device.serial)
    assert "`cat /data/local/tmp/nothing` exited 1" in text
    assert "No such file" in text
    assert caught.value.exit_code == 3


def test_a_megabyte_goes_through_a_command_as_it_is(device: Device) -> None:
    data = os.urandom(1 << 20)
    with device.open_shell("cat") as stream:
        stream.write(data)
        assert stream.read_exactly(len(data), timeout_s=10) == data
        stream.close_stdin()
        assert stream.read_some(10) is None
        assert stream.exit_code == 0


def test_a_silent_command_may_take_all_the_time_it_was_given(device: Device) -> None:
    assert device.shell("sleep 1; echo done", timeout_s=10).text == "done"


def test_a_command_that_never_ends_is_cut_off_and_the_next_one_works(device: Device) -> None:
    with pytest.raises(DeviceTimeoutError, match=r"still running after 0.3 s. \(`sleep 30`\)"):
        device.shell("sleep 30", timeout_s=0.3)
    assert device.shell("echo still here").text == "still here"


def test_a_command_that_trickles_does_not_extend_its_time(device: Device) -> None:
    drip = "; ".join(["echo x; sleep 0.1"] * 100)
    began_s = time.monotonic()
    with pytest.raises(DeviceTimeoutError):
        device.shell(drip, timeout_s=0.5)
    assert time.monotonic() - began_s < 5  # of the ten that it takes


def test_writing_to_a_command_that_has_ended_tells_its_exit_code(device: Device) -> None:
    with device.open_shell("echo no >&2; exit 9") as stream:
        with pytest.raises(DeviceGoneError) as caught:
            for _ in range(100):
                stream.write(bytes(100_000))
        assert stream.exit_code == 9
    assert (caught.value.command_exit_code, caught.value.stderr) == (9, "no\n")


def test_bytes_that_are_no_protocol_name_the_device_and_what_was_asked_of_it(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_service = device._transport.open_service
    monkeypatch.setattr(
        device._transport,
        "open_service",
        lambda _, deadline: open_service("shell,v2,raw:echo this is no file", deadline),
    )
    with pytest.raises(DeviceError, match=r"broken sync reply.*`pull /x`") as caught:
        device.pull("/x", timeout_s=10)
    assert caught.value.serial == device.serial


def test_two_streams_are_open_at_once(device: Device) -> None:
    with device.open_shell("cat") as first, device.open_shell("cat") as second:
        first.write(b"one\n")
        second.write(b"two\n")
        assert second.read_line(timeout_s=5) == b"two"
        assert device.shell("echo three").text == "three"
        assert first.read_line(timeout_s=5) == b"one"


def test_20_megabytes_come_back_as_they_went(device: Device, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(os.urandom(20 << 20))
    told: list[tuple[int, int]] = []
    device.push(source, f"{FOLDER}/big", progress=lambda *sent: told.append(sent))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert device.shell(f"sha256sum {FOLDER}/big").text.split()[0] == digest
    assert device.pull(f"{FOLDER}/big") == source.read_bytes()
    assert told[-1] == (20 << 20, 20 << 20) and told == sorted(told)
    device.check_shell(f"rm {FOLDER}/big")


def test_what_is_there_is_not_sent_again(device: Device, tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_bytes(bytes(range(256)) * 1000)
    target = f"{FOLDER}/pushed/blob"
    assert push_file(device, source, target, mode=0o644) == source.stat().st_size
    assert push_file(device, source, target, mode=0o644) == 0
    source.write_bytes(b"other")
    assert push_file(device, source, target, mode=0o644) == 5
    assert device.pull(target) == b"other"
    assert device.shell(f"ls {FOLDER}/pushed").text.split() == ["blob"]
    device.check_shell(f"rm -r {FOLDER}/pushed")


def test_an_empty_file_goes_there_and_back(device: Device, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    device.push(tmp_path / "empty", f"{FOLDER}/empty", mode=0o600)
    assert device.pull(f"{FOLDER}/empty") == b""
    assert device.check_shell(f"stat -c %a {FOLDER}/empty; rm {FOLDER}/empty") == "600"


def test_a_missing_file_cannot_be_pulled(device: Device) -> None:
    with pytest.raises(DeviceError, match=r"refused: .*No such file.*`pull /sdcard/nothing`"):
        device.pull("/sdcard/nothing")


def test_a_pull_has_as_long_as_the_size_of_the_file_takes(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def pull(*_: object, deadline: Deadline) -> bytes:
        given.append(deadline.timeout_s)
        return b""

    monkeypatch.setattr(file_sync, "pull", pull)
    device.pull("/sdcard/nothing")
    monkeypatch.setattr(device, "shell", lambda *_: ShellResult(0, b"300000000\n", ""))
    device.pull("/sdcard/long")
    assert given == [60, 300]


def test_a_push_where_nobody_may_write_is_no_permission(device: Device, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1 << 20))
    with pytest.raises(DeviceError) as caught:
        device.push(tmp_path / "x", "/etc/x")
    assert caught.value.cause == "no_permission"
    assert device.shell("echo still here").text == "still here"


def test_a_full_phone_is_no_space_and_keeps_no_half_file(
    device: Device, reachable: Reachable, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(bytes(2 << 20))
    state = reachable[2] / "state"
    set_faults("contract", state, free_nbytes=100_000)
    try:
        with pytest.raises(DeviceError) as caught:
            push_file(device, tmp_path / "x", f"{FOLDER}/full/x", mode=0o644)
    finally:
        clear_faults("contract", state)
    assert caught.value.cause == "no_space"
    assert "df /data/local/tmp" in str(caught.value)
    assert device.shell(f"ls {FOLDER}/full").text == ""


@pytest.mark.parametrize("way", WAYS)
def test_a_phone_that_leaves_is_gone_at_once(way: str, tmp_path: Path) -> None:
    with (
        running_phone("leaves", tmp_path / "state") as phone,
        adb_server([phone.serial], way) as port,
        connected(way, phone.serial, port, tmp_path / "keys") as device,
    ):
        stream = device.open_shell("sleep 30")
        stop_phone(phone.name, tmp_path / "state")
        began_s = time.monotonic()
        with pytest.raises(DeviceGoneError, match=r"was lost|without an exit code"):
            stream.read_some(25.0)
        assert time.monotonic() - began_s < 10
        with pytest.raises(DeviceError):
            device.shell("true", timeout_s=5)


@pytest.mark.parametrize("way", WAYS)
def test_closing_from_another_thread_wakes_who_waits(way: str, reachable: Reachable) -> None:
    serial, port, root = reachable
    with connected(way, serial, port, root / "keys") as device:
        stream = device.open_shell("echo up; sleep 30")
        assert stream.read_line(timeout_s=5) == b"up"
        closer = threading.Timer(0.2, device.close)
        closer.start()
        with pytest.raises(DeviceGoneError):
            stream.read_some(25.0)
        closer.join()


@pytest.mark.parametrize("way", WAYS)
def test_two_devices_work_in_two_threads(way: str, tmp_path: Path) -> None:
    said: dict[str, list[str]] = {}

    def talk(device: Device) -> None:
        said[device.serial] = [
            device.check_shell(f"echo {number}; getprop ro.serialno") for number in range(30)
        ]

    with (
        running_phone("one", tmp_path / "state") as one,
        running_phone("two", tmp_path / "state") as two,
        adb_server([one.serial, two.serial], way) as port,
        connected(way, one.serial, port, tmp_path / "keys") as first,
        connected(way, two.serial, port, tmp_path / "keys") as second,
    ):
        threads = [threading.Thread(target=talk, args=(device,)) for device in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for phone in (one, two):
        assert said[phone.serial] == [f"{number}\n{phone.name}" for number in range(30)]
