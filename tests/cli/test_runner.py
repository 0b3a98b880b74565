"""`runner` builds, and says what a build for Android lacks before it starts one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobilesplit.cli.runner import app
from mobilesplit.core.errors import MobilesplitError
from mobilesplit.device.runner_build.prerequisites import executorch_version
from tests.device.runner_build.stand_in_sdks import make_ndk, make_source


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """With a cache of its own and no NDK of this machine's."""
    for name in ("ANDROID_NDK", "ANDROID_NDK_HOME", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("mobilesplit.device.runner_build.ndk.SYSTEM_FOLDER", tmp_path / "opt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return CliRunner()


def test_check_lists_what_is_there_and_what_is_missing_and_fails(invoke: CliRunner) -> None:
    done = invoke.invoke(app, ["build-android", "--check"])
    lines = done.stdout.splitlines()
    assert lines[0].startswith("missing  No Android NDK was found")
    assert any(line.startswith("ok       Ninja: ") for line in lines)
    assert isinstance(done.exception, MobilesplitError) and done.exception.exit_code == 1
    assert "cannot be built yet" in str(done.exception)


def test_a_dry_run_prints_every_command_and_runs_none(
    invoke: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK", str(make_ndk(tmp_path / "ndk")))
    source = make_source(tmp_path / "source", executorch_version())
    words = ["build-android", "--executorch-source", str(source), "--out", str(tmp_path / "out")]
    done = invoke.invoke(app, [*words, "--dry-run"])
    assert done.exit_code == 0
    commands = done.stdout.splitlines()
    assert len(commands) == 5
    assert "-DANDROID_ABI=arm64-v8a" in commands[0]
    assert str(tmp_path / "out" / "mobilesplit-runner-arm64-v8a") in commands[-1]
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()


def test_without_a_compiler_building_for_this_machine_fails_and_says_so(
    invoke: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    done = invoke.invoke(app, ["build", "host", "--json"])
    assert done.stdout == ""
    assert isinstance(done.exception, MobilesplitError)
    assert "no-such-compiler" in str(done.exception)


def test_a_check_in_json_is_one_document(invoke: CliRunner) -> None:
    done = invoke.invoke(app, ["build-android", "--check", "--json"])
    missing = {one["name"]: one["missing"] for one in json.loads(done.stdout)}
    assert "No Android NDK" in missing["Android NDK r28"]
