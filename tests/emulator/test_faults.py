"""Each fault shows itself as on a phone, and goes when it is cleared."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.exceptions import PushFailedError

from mobilesplit.core.errors import UnknownNameError, UsageError
from mobilesplit.emulator.fault_injection import active_faults, clear_faults, set_faults
from mobilesplit.emulator.faults import Faults, parse_changes
from tests.emulator.virtual_phone_parts import RUNNER_BYTES, RUNNER_PATH, Adb, Phone

CURRENT = "/sys/class/power_supply/battery/current_now"
RAILS = "/sys/bus/iio/devices/iio:device0/energy_value"
Inject = Callable[..., Faults]


@pytest.fixture
def inject(phone: Phone) -> Iterator[Inject]:
    def change(**changes: object) -> Faults:
        return set_faults("tested", phone.phones, **changes)

    yield change
    clear_faults("tested", phone.phones)


@pytest.fixture
def pushed(adb_shell_device: AdbDeviceTcp) -> AdbDeviceTcp:
    adb_shell_device.push(io.BytesIO(RUNNER_BYTES), RUNNER_PATH, st_mode=0o100755)
    return adb_shell_device


def wait_for(holds: Callable[[], bool]) -> None:
    """For what another process does; the limit is only there to fail."""
    end_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_faults_are_listed_and_cleared(inject: Inject, phone: Phone) -> None:
    assert active_faults("tested", phone.phones) == {}
    assert inject(charging=True, thermal_status=2).thermal_status == 2
    inject(charging=False)
    assert active_faults("tested", phone.phones) == {"thermal_status": 2}
    clear_faults("tested", phone.phones)
    assert active_faults("tested", phone.phones) == {}


def test_an_unknown_fault_lists_the_known_and_a_wrong_value_is_told(inject: Inject) -> None:
    with pytest.raises(UnknownNameError, match="charging, denied_sysfs"):
        inject(fire=True)
    with pytest.raises(UsageError, match=r"thermal_status.*less than or equal to 6"):
        inject(thermal_status=9)


def test_words_of_a_command_line_become_changes() -> None:
    words = ["charging", "thermal_status=3", "free_nbytes=null", "skin_celsius=41.5"]
    assert parse_changes(words) == {
        "charging": True, "thermal_status": 3, "free_nbytes": None, "skin_celsius": 41.5,
    }  # fmt: skip
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_changes(["charging={"])


def test_a_charger_shows_in_status_service_and_current(inject: Inject, adb: Adb) -> None:
    inject(charging=True)
    assert adb.text("shell", "cat /sys/class/power_supply/battery/status") == "Charging\n"
    text = adb.text("shell", "dumpsys battery")
    assert "USB powered: true" in text and "  status: 2\n" in text
    # 2.5 W come in and 0.9 W are used: the current turns its sign at the next refreshes.
    wait_for(lambda: int(adb.text("shell", f"cat {CURRENT}")) > 0)


def test_denied_sysfs_is_there_and_cannot_be_read(inject: Inject, adb: Adb) -> None:
    inject(denied_sysfs=True)
    for path in (CURRENT, RAILS, "/sys/class/thermal/thermal_zone0/temp"):
        done = adb("shell", f"cat {path}")
        assert (done.returncode, done.stderr) == (1, f"cat: {path}: Permission denied\n".encode())
    assert adb("shell", "ls /sys/class/power_supply/battery").returncode == 1
    assert adb.text("shell", "dumpsys battery")


def test_a_phone_without_rails_has_no_such_file(inject: Inject, adb: Adb) -> None:
    assert adb.text("shell", f"cat {RAILS}").startswith("t=")
    inject(no_rails=True)
    done = adb("shell", f"cat {RAILS}")
    assert done.returncode == 1 and b"No such file or directory" in done.stderr
    assert adb.text("shell", "ls /sys/bus") == ""
    assert adb.text("shell", f"cat {CURRENT}")


def test_a_frozen_gauge_says_the_same_for_ever(inject: Inject, adb: Adb) -> None:
    inject(frozen_gauge=True)
    frozen = adb.text("shell", f"cat {CURRENT}")
    assert adb.text("shell", f"sleep 2.2; cat {CURRENT}") == frozen
    inject(frozen_gauge=False)
    wait_for(lambda: adb.text("shell", f"cat {CURRENT}") != frozen)


def test_throttling_shows_in_the_service_and_in_the_runners_slow_down(
    inject: Inject, adb: Adb, phone: Phone
) -> None:
    slowdown = phone.record.state / "slowdown"
    assert slowdown.read_text() == "4.0\n"
    inject(thermal_status=3, skin_celsius=44.5, slowdown_factor=2.5)
    assert slowdown.read_text() == "10.0\n"
    text = adb.text("shell", "dumpsys thermalservice")
    cached, _, current = text.partition("Current temperatures from HAL:")
    assert "Thermal Status: 3\n" in text
    assert "Temperature{mValue=44.5, mType=3, mName=skin, mStatus=3}" in current
    assert "mValue=27.0, mType=3" in cached
    assert adb.text("shell", "cat /sys/class/thermal/thermal_zone1/temp") == "44500\n"


def test_a_full_storage_refuses_pushes_and_redirections_and_shows_in_df(
    inject: Inject, pushed: AdbDeviceTcp, adb: Adb
) -> None:
    inject(free_nbytes=100_000)
    with pytest.raises(PushFailedError, match="No space left on device"):
        pushed.push(io.BytesIO(bytes(150_000)), "/sdcard/big")
    assert adb("shell", "test -e /sdcard/big").returncode == 1
    adb.text("shell", "echo fits > /sdcard/small")
    inject(free_nbytes=10)
    done = adb("shell", "cat /proc/cpuinfo > /sdcard/y")
    assert done.returncode == 1 and b"No space left on device" in done.stderr
    done = adb("shell", f"cp {RUNNER_PATH} /sdcard/copy")
    assert done.returncode == 1
    assert done.stderr == b"cp: /sdcard/copy: No space left on device\n"
    assert adb.text("shell", "df /data/local/tmp").splitlines()[1].split()[3] == "0"
    inject(free_nbytes=None)
    pushed.push(io.BytesIO(bytes(150_000)), "/sdcard/big")


def test_the_next_program_is_killed_and_the_one_after_is_not(
    inject: Inject, pushed: AdbDeviceTcp, adb: Adb, phone: Phone
) -> None:
    inject(kill_runner_after=0)
    assert adb("shell", f"{RUNNER_PATH} hang").returncode == 137
    assert active_faults("tested", phone.phones) == {}
    assert adb("shell", f"{RUNNER_PATH} show").returncode == 5


def test_a_program_is_killed_after_its_inferences(
    inject: Inject, pushed: AdbDeviceTcp, adb: Adb
) -> None:
    inject(kill_runner_after=2)
    body = (1).to_bytes(4, "little") + b"x"
    assert adb("shell", RUNNER_PATH, stdin=body).returncode == 0
    inject(kill_runner_after=2)
    done = adb("shell", f"{RUNNER_PATH} serve", stdin=body * 2)
    assert done.returncode == 137 and done.stdout == body * 2


def test_a_wrong_abi_is_told_in_androids_words(
    inject: Inject, pushed: AdbDeviceTcp, adb: Adb
) -> None:
    inject(wrong_abi=True)
    done = adb("shell", RUNNER_PATH)
    assert done.returncode == 126
    assert f"{RUNNER_PATH}: not executable: 64-bit ELF file" in done.stderr.decode()


@pytest.mark.parametrize(
    "when", [{"disconnect_after_ms": 0}, {"disconnect_after_nbytes": 3000}], ids=str
)
def test_a_connection_is_dropped_once(
    inject: Inject,
    phone: Phone,
    signer: PythonRSASigner,
    when: dict[str, object],
) -> None:
    device = AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=10)
    device.connect(rsa_keys=[signer], auth_timeout_s=5)
    inject(**when)
    # Which error it is, is the client's: a reset connection, or bytes that never came.
    with pytest.raises(Exception, match=r"."):
        for _ in range(100):
            device.shell("echo x", transport_timeout_s=1, read_timeout_s=1)
    assert active_faults("tested", phone.phones) == {}
    device.close()
    device.connect(rsa_keys=[signer], auth_timeout_s=5)
    assert device.shell("echo back") == "back\n"
    device.close()


def test_after_a_drop_connections_are_refused_for_a_while(
    inject: Inject, phone: Phone, signer: PythonRSASigner
) -> None:
    inject(disconnect_after_ms=0, refuse_s=1.0)
    device = AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=5)
    refused = 0

    def is_back() -> bool:
        nonlocal refused
        try:
            return bool(device.connect(rsa_keys=[signer], auth_timeout_s=5))
        except Exception:
            refused += 1
            return False

    wait_for(is_back)
    assert refused > 0
    device.close()


def test_a_phone_that_is_not_authorized_any_more(inject: Inject, adb: Adb) -> None:
    inject(refuse_auth=True)
    adb("disconnect", adb.serial)
    adb("connect", adb.serial)
    assert f"{adb.serial}\tunauthorized" in adb.text("devices")
    inject(refuse_auth=False)
    adb("disconnect", adb.serial)
    adb("connect", adb.serial)
    wait_for(lambda: f"{adb.serial}\tdevice" in adb.text("devices"))


def test_the_control_socket_is_the_users_alone(phone: Phone) -> None:
    assert Path(phone.record.state / "control").is_socket()
    assert phone.record.state.stat().st_mode & 0o077 == 0


def test_the_commands_help_names_every_fault() -> None:
    from mobilesplit.cli.emulator import fault

    assert fault.__doc__ is not None
    assert [name for name in Faults.model_fields if name not in fault.__doc__] == []
