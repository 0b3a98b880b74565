from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobilesplit.core.errors import MobilesplitError, UnknownNameError, UsageError
from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.phones import (
    PhoneRecord,
    list_phones,
    phone_stats,
    phones_folder,
    start_phone,
    stop_phone,
)


def start(name: str, root: Path, port: int = 0) -> PhoneRecord:
    return start_phone(
        load_description("budget-2017"),
        name=name,
        port=port,
        allowed_programs={},
        state_root=root,
        exit_with_parent=True,
    )


def accepts(serial: str) -> bool:
    host, port = serial.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True


def wait_for_end(record: PhoneRecord) -> None:
    """Until the kernel has closed its socket; the limit is only there to fail."""
    end_s = time.monotonic() + 10
    while accepts(record.serial):
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_phones_are_started_listed_and_stopped(tmp_path: Path) -> None:
    one, two = start("one", tmp_path), start("two", tmp_path)
    try:
        assert accepts(one.serial) and accepts(two.serial)
        assert list_phones(tmp_path) == [one, two]
        assert stat.S_IMODE(one.state.stat().st_mode) == 0o700
        assert phone_stats("one", tmp_path)["runner_starts"] == 0
        with pytest.raises(UsageError, match="is running"):
            start("one", tmp_path)
    finally:
        stop_phone("one", tmp_path)
        stop_phone("two", tmp_path)
    assert not accepts(one.serial)
    assert list_phones(tmp_path) == [] and not one.state.exists()
    with pytest.raises(UnknownNameError, match="Known: none"):
        stop_phone("one", tmp_path)


def test_a_taken_port_is_named_with_the_next_step(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MobilesplitError, match=f"Port {port} is taken.*0 for any free one"):
            start("taken", tmp_path, port)
    assert not (tmp_path / "taken").exists()


def test_a_dead_phones_record_is_dropped_and_its_pid_left_alone(tmp_path: Path) -> None:
    record = start("dead", tmp_path)
    os.kill(record.pid, 9)
    wait_for_end(record)
    # As after a reboot: the number now belongs to somebody else, here to us.
    stale = record.model_copy(update={"pid": os.getpid()})
    (record.state / "phone.json").write_text(stale.save())
    assert list_phones(tmp_path) == []
    with pytest.raises(UnknownNameError):
        stop_phone("dead", tmp_path)


def test_a_phone_ends_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import json, pathlib, sys, time\n"
        "from mobilesplit.emulator.device_description import load_description\n"
        "from mobilesplit.emulator.phones import start_phone\n"
        "start_phone(load_description('budget-2017'), name='demo', allowed_programs={},\n"
        "    state_root=pathlib.Path(sys.argv[1]), exit_with_parent=True)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None and starter.stdout.readline() == b"up\n"
        (record,) = list_phones(tmp_path)
        starter.kill()
    end_s = time.monotonic() + 10
    while list_phones(tmp_path):
        assert time.monotonic() < end_s
        time.sleep(0.02)
    assert not accepts(record.serial)


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", "x" * 65, ".x"])
def test_a_name_that_could_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        start(name, tmp_path)


def test_only_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"0\.0\.0\.0"):
        start_phone(
            load_description("budget-2017"),
            name="open",
            host="0.0.0.0",
            allowed_programs={},
            state_root=tmp_path,
        )


def test_state_lives_under_xdg_state_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert phones_folder() == Path("/somewhere/mobilesplit/phones")


def test_starting_a_phone_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, json, mobilesplit.emulator.daemon, mobilesplit.emulator.phones\n"
        "print(json.dumps(sorted({'torch', 'numpy', 'executorch'} & set(sys.modules))))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert json.loads(out) == []
