"""Each thing that an Android build lacks is named, with why it is needed and how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilesplit.device.runner_build import prerequisites
from mobilesplit.device.runner_build.ndk import Ndk
from mobilesplit.device.runner_build.prerequisites import (
    Prerequisite,
    cmake_prerequisite,
    executorch_version,
    ndk_prerequisite,
    ninja_prerequisite,
    room_prerequisite,
    source_prerequisite,
)
from mobilesplit.device.runner_build.toolchain import BuildFailed
from tests.device.runner_build.stand_in_sdks import make_ndk, make_source


def assert_missing(one: Prerequisite, *words: str) -> None:
    assert one.found is None
    for word in words:
        assert word in one.missing, one.missing


def test_no_ndk_says_where_it_was_looked_for() -> None:
    assert_missing(
        ndk_prerequisite(None),
        "No Android NDK", "$ANDROID_NDK_HOME", "/opt/ndk", "sdkmanager 'ndk;28", "set ANDROID_NDK",
    )  # fmt: skip


def test_an_old_ndk_is_named_with_its_revision(tmp_path: Path) -> None:
    ndk = Ndk(make_ndk(tmp_path, "27.0.1"), "27.0.1")
    assert_missing(ndk_prerequisite(ndk), "27.0.1", str(tmp_path), "older than r28")


def test_an_ndk_with_a_part_missing_names_the_part(tmp_path: Path) -> None:
    ndk = Ndk(make_ndk(tmp_path), "28.2.1")
    assert ndk_prerequisite(ndk).found == f"28.2.1 in {tmp_path}"
    ndk.toolchain_file.unlink()
    assert_missing(ndk_prerequisite(ndk), "not whole", "android.toolchain.cmake is missing")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("cmake version 3.25.1", ["is 3.25.1", "needs CMake 3.28", "pip install --upgrade cmake"]),
        ("nonsense", ["is of no version"]),
    ],
)
def test_a_cmake_that_is_too_old_is_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, words: list[str]
) -> None:
    cmake = tmp_path / "cmake"
    cmake.write_text(f"#!/bin/sh\necho '{said}'\n")
    cmake.chmod(0o755)
    monkeypatch.setattr(prerequisites, "find_cmake", lambda: str(cmake))
    assert_missing(cmake_prerequisite(), str(cmake), *words)


def test_no_cmake_and_no_ninja_say_which_package_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_there() -> str:
        raise BuildFailed("was not found")

    monkeypatch.setattr(prerequisites, "find_cmake", not_there)
    monkeypatch.setattr(prerequisites, "find_ninja", not_there)
    assert_missing(cmake_prerequisite(), "No CMake was found", "pip install --upgrade cmake")
    assert_missing(ninja_prerequisite(), "No Ninja was found", "pip install ninja")


def test_the_installed_cmake_and_ninja_are_found() -> None:
    assert cmake_prerequisite().found is not None
    assert ninja_prerequisite().found is not None


def test_a_source_tree_must_be_one_of_the_installed_version_with_its_submodules(
    tmp_path: Path,
) -> None:
    version = executorch_version()
    assert_missing(
        source_prerequisite(tmp_path), f"{tmp_path} is no source tree", f"--branch v{version}"
    )
    other = make_source(tmp_path / "other", "1.4.0")
    assert_missing(source_prerequisite(other), "is ExecuTorch 1.4.0", version, "must match")
    bare = make_source(tmp_path / "bare", version)
    (bare / "backends" / "xnnpack" / "third-party" / "XNNPACK" / "CMakeLists.txt").unlink()
    assert_missing(source_prerequisite(bare), "lacks its submodules", "submodule update --init")
    for said in (version, f"{version}a0"):  # as release branches and tags write it
        assert source_prerequisite(make_source(tmp_path / said, said)).found is not None


def test_without_a_source_tree_git_is_needed_to_clone_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert_missing(source_prerequisite(None), "nor git was found", "--executorch-source")


def test_a_full_disk_is_named_with_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "not" / "yet" / "there"
    assert room_prerequisite(tmp_path).found is not None
    monkeypatch.setattr(prerequisites, "LEAST_FREE_BYTES", 10**18)
    assert_missing(room_prerequisite(work), str(tmp_path), "GB left", "XDG_CACHE_HOME")
