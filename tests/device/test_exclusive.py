"""Two commands never measure one device at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobilesplit.core.errors import DeviceError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.exclusive import exclusive

HOLD = """
import sys
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.exclusive import exclusive
with exclusive(DeviceFacts(name="a", serial_number="X/1")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_a_device_that_another_process_measures_is_refused_until_that_ends() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        # Another address, the same device.
        same = DeviceFacts(name="a", serial="10.0.0.2:5555", serial_number="X/1")
        with pytest.raises(DeviceError, match=f"10.0.0.2.*already \\(process {holder.pid}\\)"):
            exclusive(same).__enter__()
        with exclusive(DeviceFacts(name="b", serial_number="Y")):
            pass
        holder.kill()  # no goodbye
        holder.wait()
        with exclusive(same):
            pass
    finally:
        holder.kill()
        holder.communicate()


def test_the_holder_is_named_by_its_process() -> None:
    facts = DeviceFacts(name="a", serial="s")
    with exclusive(facts), pytest.raises(DeviceError, match=str(os.getpid())):
        exclusive(facts).__enter__()


def test_two_phones_whose_maker_gave_both_one_number_are_two() -> None:
    one, other = (
        DeviceFacts(name="a", serial=f"10.0.0.{host}:5555", serial_number="0123456789ABCDEF")
        for host in (1, 2)
    )
    with exclusive(one), exclusive(other):
        pass


def test_a_short_push_of_another_process_is_waited_for() -> None:
    facts = DeviceFacts(name="a", serial_number="X/1")
    short = HOLD.replace("sys.stdin.read()", "import time; time.sleep(0.3)")
    with subprocess.Popen([sys.executable, "-c", short], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(DeviceError):
            exclusive(facts).__enter__()
        with exclusive(facts, wait_s=30):
            pass
