"""The NDK is looked for where Android's tools put it, and the newest of an SDK is taken."""

from __future__ import annotations

from pathlib import Path

from mobilesplit.device.runner_build.ndk import find_ndk
from tests.device.runner_build.stand_in_sdks import make_ndk


def test_the_variables_come_before_the_sdks_and_those_before_the_systems_folder(
    tmp_path: Path,
) -> None:
    places = {
        "ANDROID_NDK": (tmp_path / "a", tmp_path / "a"),
        "ANDROID_NDK_HOME": (tmp_path / "b", tmp_path / "b"),
        "ANDROID_HOME": (tmp_path / "sdk", tmp_path / "sdk" / "ndk" / "28.2"),
        "ANDROID_SDK_ROOT": (tmp_path / "old", tmp_path / "old" / "ndk" / "28.2"),
    }
    system = tmp_path / "opt"
    for _, ndk in places.values():
        make_ndk(ndk)
    make_ndk(system)
    environment = {name: str(value) for name, (value, _) in places.items()}
    for name, (_, ndk) in places.items():
        found = find_ndk(environment, system)
        assert found is not None and found.folder == ndk
        del environment[name]
    found = find_ndk({}, system)
    assert found is not None and found.folder == system


def test_of_several_in_an_sdk_the_newest_by_number_is_taken(tmp_path: Path) -> None:
    for revision in ("28.9.1", "28.10.1", "27.0.12077973"):
        make_ndk(tmp_path / "ndk" / revision, revision)
    found = find_ndk({"ANDROID_HOME": str(tmp_path)}, tmp_path / "nowhere")
    assert found is not None and found.revision == "28.10.1"


def test_a_folder_that_is_no_ndk_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "source.properties").write_text("Pkg.Desc = something else\n")
    environment = {
        "ANDROID_NDK": str(tmp_path / "empty"),
        "ANDROID_NDK_HOME": str(tmp_path / "odd"),
    }
    assert find_ndk(environment, tmp_path / "nowhere") is None
    make_ndk(tmp_path / "opt")
    assert find_ndk(environment, tmp_path / "opt") is not None
