"""Which device a command means, what `devices` lists, and what `doctor` finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mobilesplit.cli.app import app
from mobilesplit.cli.device_choice import choose_serial
from mobilesplit.core.errors import DeviceError
from mobilesplit.device.connect import connect
from mobilesplit.device.push import REMOTE_FOLDER
from mobilesplit.emulator.fault_injection import set_faults
from mobilesplit.emulator.phones import PhoneRecord
from tests.device.transport_parts import adb_server, no_adb_server, running_phone, server_at


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nobody else's phones, keys, cache or adb server."""
    for name in ("ANDROID_SERIAL", "ANDROID_NDK", "ANDROID_NDK_HOME", "ANDROID_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    with server_at(None):
        yield tmp_path


@pytest.fixture
def phone(home: Path) -> Iterator[PhoneRecord]:
    with running_phone("tested", home / "state" / "mobilesplit" / "phones") as record:
        yield record


def listed(*words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["devices", "--json", *words], catch_exceptions=False)
    rows: list[dict[str, Any]] = json.loads(done.stdout)["devices"]
    return rows


def doctor(*words: str) -> tuple[int, dict[str, dict[str, dict[str, str]]]]:
    """Exit code, and findings by section and what was looked at."""
    done = CliRunner().invoke(app, ["doctor", "--json", *words], catch_exceptions=False)
    sections = json.loads(done.stdout)["sections"]
    return done.exit_code, {
        section["title"]: {finding["what"]: finding for finding in section["findings"]}
        for section in sections
    }


def test_without_any_device_the_next_step_is_named(home: Path) -> None:
    with pytest.raises(DeviceError, match=r"no device found.*emulator start.*--start-server"):
        choose_serial(None)


def test_the_only_device_is_chosen_and_a_named_one_comes_first(
    phone: PhoneRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_serial(None) == phone.serial
    monkeypatch.setenv("ANDROID_SERIAL", "R58M")
    assert choose_serial(None) == "R58M"
    assert choose_serial("other") == "other"


def test_of_several_devices_none_is_chosen_and_all_are_listed_with_their_states(
    phone: PhoneRecord, home: Path
) -> None:
    with (
        running_phone("shy", home / "elsewhere", auth="refuse") as shy,
        adb_server([shy.serial]) as port,
        server_at(port),
    ):
        with pytest.raises(DeviceError) as caught:
            choose_serial(None)
        assert f"{phone.serial} (device), {shy.serial} (unauthorized)" in str(caught.value)
        first, second = listed()
        assert (first["serial"], first["state"], first["transport"]) == (
            phone.serial, "device", "tcp",
        )  # fmt: skip
        assert (second["serial"], second["state"], second["transport"]) == (
            shy.serial, "unauthorized", "server",
        )  # fmt: skip
        assert "accept this computer's key" in second["next_step"]
        code, sections = doctor()
        assert code == 1
        assert sections[shy.serial]["state"]["level"] == "failure"
        assert sections[phone.serial]["state"]["level"] == "ok"


def test_devices_shows_facts_and_the_way(phone: PhoneRecord) -> None:
    done = CliRunner().invoke(app, ["devices"])
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    (row,) = listed()
    assert row["serial"] == phone.serial and row["emulated"]
    assert (row["android"], len(row["core_max_khz"])) == ("14", row["cores"])
    assert listed("--serial", phone.serial) == [row]


def test_doctor_finds_a_healthy_virtual_phone_ready(phone: PhoneRecord) -> None:
    code, sections = doctor()
    assert code == 0
    assert "none at 127.0.0.1" in sections["adb server"]["adb server"]["says"]
    device = sections[phone.serial]
    looked_at = "state Android ABI cores room battery thermal energy pushed_runner"
    assert {what.replace(" ", "_") for what in device} == set(looked_at.split())
    assert {finding["level"] for finding in device.values()} == {"ok"}
    assert "emulated" in device["state"]["says"]
    assert "GHz" in device["cores"]["says"]


def test_doctor_warns_of_what_spoils_a_profile_and_says_what_to_do(
    phone: PhoneRecord, home: Path
) -> None:
    state = home / "state" / "mobilesplit" / "phones"
    set_faults("tested", state, charging=True, thermal_status=3, free_nbytes=1000, no_rails=True)
    code, sections = doctor("--serial", phone.serial)
    assert code == 0
    device = sections[phone.serial]
    for what, step in {
        "battery": "unplug it", "thermal": "cool down", "room": "Free some",
    }.items():  # fmt: skip
        assert device[what]["level"] == "warning"
        assert step in device[what]["next_step"]


def test_doctor_fails_on_a_device_that_does_not_answer(home: Path) -> None:
    code, sections = doctor("--serial", "127.0.0.1:1")
    assert code == 1
    assert sections["127.0.0.1:1"]["state"]["level"] == "failure"
    done = CliRunner().invoke(app, ["doctor", "--serial", "127.0.0.1:1"])
    assert done.exit_code == 1
    assert "1 failure" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_doctor_goes_on_to_the_phones_where_the_adb_server_is_none(phone: PhoneRecord) -> None:
    with no_adb_server() as port, server_at(port):
        code, sections = doctor()
    assert code == 1
    assert sections["adb server"]["adb server"]["level"] == "failure"
    assert sections[phone.serial]["state"]["level"] == "ok"


def test_doctor_does_not_take_the_rest_of_a_push_for_a_runner(
    phone: PhoneRecord, home: Path
) -> None:
    with connect(phone.serial, key_folder=home / "keys") as device:
        device.check_shell(f"mkdir -p {REMOTE_FOLDER}")
        device.check_shell(f"echo half > {REMOTE_FOLDER}/mobilesplit-runner.0a1b2c3d.part")
    _, sections = doctor()
    assert "none yet" in sections[phone.serial]["pushed runner"]["says"]


def test_doctor_tells_of_an_adb_key_that_cannot_be_parsed(phone: PhoneRecord, home: Path) -> None:
    key = home / ".android" / "adbkey"
    key.parent.mkdir()
    key.write_text("no key")
    code, sections = doctor()
    assert code == 1
    state = sections[phone.serial]["state"]
    assert state["level"] == "failure"
    assert str(key) in state["says"] and "Move it away" in state["next_step"]
