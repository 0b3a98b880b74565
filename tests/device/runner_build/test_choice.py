"""A device gets a runner that can start there, or an error that says how to make one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilesplit.core.errors import InputFileError, RunnerError
from mobilesplit.device.runner_build import build_host_runner, find_runner
from mobilesplit.device.runner_build.android import android_build

ARM = b"\x7fELF" + bytes(14) + (183).to_bytes(2, "little") + bytes(40)
"""The start of a program for arm64-v8a."""


def file_with(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("abi", ["x86_64", "arm64-v8a"])
def test_a_virtual_phone_of_any_abi_gets_this_machines_runner(
    abi: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")  # the Python runner: nothing needs building
    found = find_runner(abi, virtual_phone=True, cache_root=tmp_path)
    assert found == build_host_runner(cache_root=tmp_path)


def test_a_phone_without_a_runner_of_its_abi_is_told_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(RunnerError) as failure:
        find_runner("arm64-v8a", virtual_phone=False, serial="R58M123", cache_root=tmp_path)
    text = str(failure.value)
    assert "R58M123: there is no runner for arm64-v8a yet" in text
    assert "`tools/build_android_runner --abi arm64-v8a`" in text and "--runner PATH" in text


def test_a_runner_that_was_built_is_found_for_its_abi_and_for_no_other(tmp_path: Path) -> None:
    binary = file_with(android_build("arm64-v8a", cache_root=tmp_path).binary, ARM)
    assert find_runner("arm64-v8a", virtual_phone=False, cache_root=tmp_path).path == binary
    with pytest.raises(RunnerError):
        find_runner("x86_64", virtual_phone=False, cache_root=tmp_path)


def test_a_runner_of_older_sources_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_with(android_build("arm64-v8a", cache_root=tmp_path).binary, ARM)
    monkeypatch.setattr(
        "mobilesplit.device.runner_build.android.sources_digest", lambda _: "0" * 64
    )
    with pytest.raises(RunnerError, match="there is no runner for arm64-v8a yet"):
        find_runner("arm64-v8a", virtual_phone=False, cache_root=tmp_path)


def test_a_phone_gets_no_runner_for_torchscript_heads(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"on virtual phones only.*--format executorch"):
        find_runner("arm64-v8a", virtual_phone=False, torchscript=True, cache_root=tmp_path)


def test_a_runner_for_torchscript_heads_that_cannot_be_built_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RunnerError, match=r"no-such-compiler.*--format executorch"):
        find_runner("x86_64", virtual_phone=True, torchscript=True, cache_root=tmp_path)


@pytest.mark.parametrize("abi", ["armeabi-v7a", None])
def test_an_abi_that_nothing_is_built_for_is_named(abi: str | None, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"ABI (armeabi-v7a|\(unknown\)).*--runner"):
        find_runner(abi, virtual_phone=False, cache_root=tmp_path)


def test_a_chosen_runner_is_taken_unless_it_is_for_another_abi(tmp_path: Path) -> None:
    chosen = file_with(tmp_path / "my-runner", ARM)
    assert find_runner("arm64-v8a", virtual_phone=False, chosen=chosen).path == chosen
    with pytest.raises(RunnerError, match=r"my-runner is built for arm64-v8a, .* runs x86_64"):
        find_runner("x86_64", virtual_phone=False, chosen=chosen)


def test_a_chosen_runner_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="nowhere: No such file"):
        find_runner("x86_64", virtual_phone=False, chosen=tmp_path / "nowhere")
