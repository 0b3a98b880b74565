"""The runner as Arm code gives the numbers of the runner as this machine's code.

Needs Debian's g++-aarch64-linux-gnu and qemu-user-static, and PyPI once; without them these tests
are skipped, or fail where MOBILESPLIT_REQUIRE=aarch64 is set.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mobilesplit.device.runner_build import BuildFailed, Runner
from mobilesplit.device.runner_build.aarch64 import build_aarch64_runner, missing_tools
from tests.android_harness.test_runner_contract import answers, request, run
from tests.optional_tools import skip_unless_required

if TYPE_CHECKING:
    from tests.android_harness.conftest import TinyProgram

TOLERANCE = 1e-4
_MACHINE_OFFSET, _AARCH64 = 18, 183


@pytest.fixture(scope="module")
def aarch64_runner() -> Runner:
    """From the user's cache, so that the wheel is fetched once and not in every run."""
    try:
        return build_aarch64_runner()
    except BuildFailed as error:
        if missing_tools() is None and "from PyPI" not in str(error):
            raise
        skip_unless_required("aarch64", str(error))


def test_it_is_arm_code_and_reports_the_same_versions(
    aarch64_runner: Runner, cpp_runner: Runner
) -> None:
    head = aarch64_runner.path.read_bytes()[: _MACHINE_OFFSET + 2]
    assert int.from_bytes(head[_MACHINE_OFFSET:], "little") == _AARCH64
    said = [json.loads(run(one, "--version").stdout) for one in (aarch64_runner, cpp_runner)]
    assert said[0]["version"] == said[1]["version"]
    assert said[0]["executorch"].split("+")[0] == said[1]["executorch"].split("+")[0]


@pytest.mark.parametrize("method", ["whole", "pair"])
def test_every_output_is_this_machines_within_1e_4(
    aarch64_runner: Runner, cpp_runner: Runner, program: TinyProgram, method: str
) -> None:
    outputs = []
    for one in (aarch64_runner, cpp_runner):
        stdin = request(1, method, program.x) + b"quit\n"
        done = run(one, "session", "--program", program.path, stdin=stdin)
        assert done.returncode == 0, done.stderr
        _, (head, arrays) = answers(done.stdout)
        assert "error" not in head
        outputs.append(arrays)
    for arm, host, expected in zip(*outputs, program.expected[method], strict=True):
        atol = TOLERANCE if arm.dtype.kind == "f" else 1  # whole numbers may round either way
        np.testing.assert_allclose(arm, host, atol=atol, rtol=0)
        np.testing.assert_allclose(arm, expected, atol=atol, rtol=0)


def test_without_compiler_and_emulator_both_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildFailed) as failure:
        build_aarch64_runner(cache_root=tmp_path)
    assert str(failure.value) == (
        "The aarch64 runner needs the cross compiler aarch64-linux-gnu-g++ and the emulator "
        "qemu-aarch64-static: `apt-get install g++-aarch64-linux-gnu qemu-user-static` brings it."
    )


def test_a_wheel_that_cannot_be_fetched_is_a_reason_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := missing_tools():
        skip_unless_required("aarch64", missing)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BuildFailed, match="aarch64 wheel cannot be fetched from PyPI"):
        build_aarch64_runner(cache_root=tmp_path)
    assert [path.suffix for path in (tmp_path / "runner").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    if missing := missing_tools():
        skip_unless_required("aarch64", missing)
    (tmp_path / "runner").write_text("a file where the folder should be")
    with pytest.raises(BuildFailed, match=r"cache .* cannot be used"):
        build_aarch64_runner(cache_root=tmp_path)
