"""What is said of a device that no virtual phone can play."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.doctor.device_checks import (
    judge_abi,
    judge_android,
    judge_cores,
    judge_version,
    look_at_device,
)
from mobilesplit.device.listing import Found
from mobilesplit.device.runner_build.prerequisites import executorch_version


def test_an_android_that_no_runner_is_built_for_is_a_failure() -> None:
    old = DeviceFacts(name="x", android="7.1", sdk=25)
    finding = judge_android(old, virtual_phone=False)
    assert (finding.level, finding.says) == ("failure", "7.1 (API 25)")
    assert judge_android(old, virtual_phone=True).level == "ok"
    assert judge_android(DeviceFacts(name="x", sdk=26), virtual_phone=False).level == "ok"


def test_an_abi_without_a_runner_here_is_a_failure_that_says_how_to_build_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    finding = judge_abi(DeviceFacts(name="x", abi="arm64-v8a"), virtual_phone=False)
    assert finding.level == "failure"
    assert "tools/build_android_runner --abi arm64-v8a" in finding.next_step


def test_cores_are_listed_by_clock_and_silence_about_them_is_a_warning() -> None:
    clocks = (1700000,) * 4 + (2370000,) * 4 + (2914000,)
    told = judge_cores(DeviceFacts(name="x", core_max_khz=clocks))
    assert told.says == "1 x 2.91 GHz + 4 x 2.37 GHz + 4 x 1.70 GHz"
    assert judge_cores(DeviceFacts(name="x", cores=8)).level == "warning"


@pytest.mark.parametrize(
    ("text", "level"),
    [
        (json.dumps({"version": "0.1.0", "executorch": f"{executorch_version()}+cpu"}), "ok"),
        (json.dumps({"version": "0.1.0", "executorch": "0.9.0"}), "warning"),
        ("usage: executor_runner", "warning"),
        ("[]", "warning"),
    ],
)
def test_a_runner_of_another_executorch_is_a_warning(text: str, level: str) -> None:
    assert judge_version(text).level == level


@pytest.mark.parametrize("state", ["offline", "unauthorized", "recovery"])
def test_a_device_that_adb_shows_as_unusable_is_one_failure_with_its_next_step(state: str) -> None:
    (finding,) = look_at_device(Found("R58M", state, "server"))
    assert (finding.level, finding.says) == ("failure", state)
    assert finding.next_step
