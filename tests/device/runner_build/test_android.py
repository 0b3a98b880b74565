"""The Android build's commands run to the end, with stand-ins for the NDK and ExecuTorch's source.

What these tests do not show is that the real NDK compiles the real source: neither is here.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from mobilesplit.core.errors import MobilesplitError
from mobilesplit.device.runner_build import BuildFailed, android, cmake_build, find_runner
from mobilesplit.device.runner_build.android import AndroidBuild, android_build
from mobilesplit.device.runner_build.cmake_build import locked
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
    _, clone, move, configure, *_ = android_build("arm64-v8a", cache_root=tmp_path).commands(ndk)
    assert clone[:2] == ["git", "clone"]
    assert clone[clone.index("--branch") + 1] == f"v{executorch_version()}"
    assert "--recurse-submodules" in clone
    assert move[1] == clone[-1]
    assert configure[configure.index("-S") + 1] == move[-1]


def test_an_interrupted_clone_is_made_again_and_a_whole_one_is_not(
    ndk: Ndk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git is a stand-in: it leaves its first clone half done, as on a lost network."""
    whole = make_source(tmp_path / "origin", executorch_version())
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    script = f"""#!/bin/sh
        for place in "$@"; do :; done
        test ! -e "$place" || exit 128
        if test -e {tmp_path}/tried; then cp -r {whole} "$place"
        else touch {tmp_path}/tried; mkdir "$place"; cp {whole}/version.txt "$place"; exit 1; fi
    """
    git.write_text(script)
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}:{os.environ['PATH']}")
    plan = android_build("x86_64", cache_root=tmp_path / "cache")
    with pytest.raises(BuildFailed, match=r"git clone .* exited 1\."):
        plan.run(ndk, lambda _: None)
    said: list[str] = []
    plan.run(ndk, said.append)
    assert said[0].startswith("[1/8] rm")
    assert plan.prerequisites()[3].found == str(plan.work / f"executorch-{executorch_version()}")
    assert "git" not in [command[0] for command in plan.commands(ndk)]


def test_another_ndk_builds_in_trees_of_its_own(plan: AndroidBuild, ndk: Ndk) -> None:
    trees = [
        {command[command.index("-B") + 1] for command in plan.commands(one) if "-B" in command}
        for one in (ndk, Ndk(ndk.folder, "29.0.14206865"))
    ]
    assert len(trees[0]) == 2
    assert not trees[0] & trees[1]


def test_a_build_that_hangs_is_ended_with_all_that_it_started(
    plan: AndroidBuild, ndk: Ndk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan.source is not None
    (plan.source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.28)\n"
        "project(hangs LANGUAGES NONE)\n"
        f'execute_process(COMMAND sh -c "echo $$ >{tmp_path}/child; exec sleep 600")\n'
    )
    child = tmp_path / "child"

    class EndsWhenTheChildRuns:
        """The time, which stands still until there is a child that may be left over."""

        def monotonic(self) -> float:
            there = child.exists() and child.read_text().endswith("\n")
            return android.BUILD_LIMIT_S + 1.0 if there else 0.0

    monkeypatch.setattr(cmake_build, "time", EndsWhenTheChildRuns())
    monkeypatch.setattr(android, "time", EndsWhenTheChildRuns())
    with pytest.raises(BuildFailed, match=r"cmake -S .* did not end within 10800 s"):
        plan.run(ndk, lambda _: None)
    given_up_s = time.monotonic() + 10.0
    while Path("/proc", child.read_text().strip()).exists():  # it dies as soon as it is scheduled
        assert time.monotonic() < given_up_s, "sleep goes on without cmake"
        time.sleep(0.02)


def test_a_second_build_says_that_it_waits_for_the_first(
    plan: AndroidBuild, ndk: Ndk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AndroidBuild, "commands", lambda self, ndk: [])
    plan.out.mkdir(parents=True)
    plan.binary.write_bytes(b"built by the first")
    said: list[str] = []
    with ExitStack() as first:
        plan.work.mkdir(parents=True)
        first.enter_context(locked(plan.work / "build.lock"))

        def first_ends(text: str) -> None:
            said.append(text)
            first.close()

        plan.run(ndk, first_ends)
    assert said == [f"Waiting for another build in {plan.work} to end."]


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
