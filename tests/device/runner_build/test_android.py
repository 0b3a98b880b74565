"""The Android build's commands run to the end, with stand-ins for the NDK and ExecuTorch's source.

What these tests do not show is that the real NDK compiles the real source: neither is here.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mobilesplit.core.errors import MobilesplitError
from mobilesplit.device.runner_build import BuildFailed, find_runner
from mobilesplit.device.runner_build.android import AndroidBuild, android_build
from mobilesplit.device.runner_build.ndk import Ndk
from mobilesplit.device.runner_build.prerequisites import executorch_version
from tests.device.runner_build.stand_in_sdks import make_ndk, make_source


@pytest.fixture
def ndk(tmp_path: Path) -> Ndk:
    return Ndk(make_ndk(tmp_path / "ndk"), "28.2.13676358")


@pytest.fixture
def plan(tmp_path: Path) -> AndroidBuild:
    source = make_source(tmp_path / "source", executorch_version())
    return android_build("x86_64", source=source, cache_root=tmp_path / "cache")


def test_every_command_runs_and_the_runner_lies_where_a_device_of_that_abi_gets_it(
    plan: AndroidBuild, ndk: Ndk, tmp_path: Path
) -> None:
    said: list[str] = []
    runner = plan.run(ndk, said.append)
    assert [line[:5] for line in said] == [f"[{i}/5]" for i in range(1, 6)]
    found = find_runner("x86_64", virtual_phone=False, cache_root=tmp_path / "cache")
    assert found == runner
    assert found.path.name == "mobilesplit-runner-x86_64"
    # The stand-ins build for this machine, so what came out can be started here.
    done = subprocess.run([runner.path, "--version"], capture_output=True, check=True)
    assert json.loads(done.stdout)["executorch"] == executorch_version()


def test_both_builds_get_the_toolchain_the_abi_and_the_oldest_android(
    plan: AndroidBuild, ndk: Ndk
) -> None:
    engine, _, runner, _, strip = plan.commands(ndk)
    for configure in (engine, runner):
        assert f"-DCMAKE_TOOLCHAIN_FILE={ndk.toolchain_file}" in configure
        assert "-DANDROID_ABI=x86_64" in configure
        assert "-DANDROID_PLATFORM=android-26" in configure
    for option in ("PAL_DEFAULT=posix", "BUILD_XNNPACK=ON", "BUILD_EXTENSION_MODULE=ON"):
        assert f"-DEXECUTORCH_{option}" in engine
    assert strip[0] == str(ndk.strip)


def test_without_a_source_tree_the_tag_of_the_installed_version_is_cloned_first(
    ndk: Ndk, tmp_path: Path
) -> None:
    first, configure, *_ = android_build("arm64-v8a", cache_root=tmp_path).commands(ndk)
    assert first[:2] == ["git", "clone"]
    assert first[first.index("--branch") + 1] == f"v{executorch_version()}"
    assert "--recurse-submodules" in first
    assert configure[configure.index("-S") + 1] == first[-1]


def test_a_command_that_fails_is_named_with_its_exit_code(plan: AndroidBuild, ndk: Ndk) -> None:
    assert plan.source is not None
    (plan.source / "CMakeLists.txt").write_text("message(FATAL_ERROR broken)\n")
    with pytest.raises(BuildFailed, match=r"cmake -S .* exited 1\."):
        plan.run(ndk, lambda _: None)
    assert not plan.binary.exists()


def test_an_executorch_without_a_library_that_is_needed_is_named(
    plan: AndroidBuild, ndk: Ndk, capfd: pytest.CaptureFixture[str]
) -> None:
    assert plan.source is not None
    config = plan.source / "executorch-config.cmake"
    config.write_text(config.read_text().replace("xnnpack_backend", "another_backend"))
    with pytest.raises(BuildFailed):
        plan.run(ndk, lambda _: None)
    assert "was built without xnnpack_backend" in capfd.readouterr().err.replace("\n", " ")


def test_an_unknown_abi_lists_the_known_ones() -> None:
    with pytest.raises(MobilesplitError, match=r"'mips'.*Known: arm64-v8a, x86_64"):
        android_build("mips")
