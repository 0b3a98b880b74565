"""The runner is built once, and where it cannot be, the Python one takes over and says why."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from mobilesplit.device.runner_build import Runner, build_host_runner, cmake_build
from mobilesplit.device.runner_build.cmake_build import CMakeBuild


def test_a_second_call_takes_the_built_runner_from_the_cache(
    cpp_runner: Runner, runner_cache: Path
) -> None:
    steps: list[str] = []
    assert build_host_runner(cache_root=runner_cache, progress=steps.append) == cpp_runner
    assert steps == []


def test_the_cache_holds_the_binary_and_no_leftovers_of_its_build(
    cpp_runner: Runner, runner_cache: Path
) -> None:
    key = cpp_runner.path.parent
    assert {path.name for path in (runner_cache / "runner").iterdir()} == {
        key.name,
        f"{key.name}.lock",
    }
    assert [path.name for path in key.iterdir()] == ["mobilesplit-runner"]
    assert cpp_runner.sha256 == hashlib.sha256(cpp_runner.path.read_bytes()).hexdigest()


def test_the_built_runner_finds_its_libraries_without_an_environment(
    cpp_runner: Runner, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*cpp_runner.argv, "--version"], env={}, cwd=tmp_path, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["runner"] == "cpp"


def test_changed_sources_or_flags_make_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "cmake").mkdir()
    (tmp_path / "CMakeLists.txt").write_text("")
    source, module = tmp_path / "src" / "main.cpp", tmp_path / "cmake" / "engine.cmake"
    source.write_text("int main() {}")
    module.write_text("")
    build = CMakeBuild(tmp_path, "runner", ["true"], definitions=("A=1",), depends_on=("1.5",))
    keys = {build.key()}
    source.write_text("int main() { return 1; }")
    keys.add(build.key())
    module.write_text("message(other)")
    keys.add(build.key())
    monkeypatch.setenv("CXXFLAGS", "-march=native")
    keys.add(build.key())
    for change in ({"definitions": ("A=2",)}, {"depends_on": ("1.6",)}, {"starts_with": ("qemu",)}):
        keys.add(dataclasses.replace(build, **change).key())
    assert len(keys) == 7


def test_without_a_compiler_the_python_runner_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    runner = build_host_runner(cache_root=tmp_path)
    assert runner.kind == "python"
    assert runner.why == "No C++ compiler was found (looked for c++, g++, clang++)."


def test_a_cxx_that_is_not_there_is_named_and_not_replaced_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    runner = build_host_runner(cache_root=tmp_path)
    assert runner.kind == "python"
    assert "no-such-compiler" in (runner.why or "")


def test_a_failed_build_keeps_its_log_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\necho 'error: this compiler is broken'\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    runner = build_host_runner(cache_root=tmp_path)
    assert runner.kind == "python"
    (log,) = (tmp_path / "runner").glob("*.log")
    assert str(log) in (runner.why or "")
    assert "this compiler is broken" in log.read_text()
    assert not list((tmp_path / "runner").glob("build-*"))


def test_a_build_over_its_time_limit_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cmake_build, "BUILD_LIMIT_S", 0.0)
    runner = build_host_runner(cache_root=tmp_path)
    if "No C++ compiler" in (runner.why or ""):
        pytest.skip("no compiler")
    assert "took more than 0 s" in (runner.why or "")


def test_whoever_is_told_of_a_build_can_end_it(tmp_path: Path) -> None:
    def interrupt(title: str) -> None:
        told.append(title)
        if len(told) == 2:  # the first is said before it begins
            raise KeyboardInterrupt

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        build = build_host_runner(cache_root=tmp_path, progress=interrupt)
        if "No C++ compiler" in (build.why or ""):
            pytest.skip("no compiler")
    assert not list((tmp_path / "runner").glob("build-*"))


def test_an_unwritable_cache_is_a_reason_and_no_crash(tmp_path: Path, cpp_runner: Runner) -> None:
    (tmp_path / "runner").write_text("a file where the folder should be")
    assert build_host_runner(cache_root=tmp_path).kind == "python"


def test_asking_for_the_python_runner_is_no_failure() -> None:
    runner = build_host_runner(prefer="python")
    assert (runner.kind, runner.why) == ("python", None)
    assert runner.argv[1] == str(runner.path)
