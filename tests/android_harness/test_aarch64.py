"""The runner as Arm code gives the numbers of the runner as this machine's code.

Needs Debian's g++-aarch64-linux-gnu and qemu-user-static, and PyPI once; without them these tests
are skipped, or fail where MOBILESPLIT_REQUIRE=aarch64 is set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from mobilesplit.core.manifest import Bundle
from mobilesplit.device.runner_build import BuildFailed, Runner
from mobilesplit.device.runner_build.aarch64 import build_aarch64_runner, missing_tools
from mobilesplit.export.bundle import load_bundle
from mobilesplit.wire.codecs import decode, from_device
from tests.android_harness.test_runner_contract import answers, request, run
from tests.optional_tools import skip_unless_required

if TYPE_CHECKING:
    from tests.android_harness.conftest import TinyProgram

TOLERANCE = 1e-4
TINY_MODEL = Path(__file__).parents[1] / "cli" / "tiny_model.py"
EXPORT_LIMIT_S = 300
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


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Bundle:
    """A user's own model as the export command writes it: float heads for XNNPACK, encoders."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    subprocess.run(
        [sys.executable, "-m", "mobilesplit", "export", f"{TINY_MODEL}:build", "--out", out],
        env={**os.environ, "XDG_CACHE_HOME": str(request.config.cache.mkdir("mobilesplit"))},
        capture_output=True,
        timeout=EXPORT_LIMIT_S,
        check=True,
    )
    return load_bundle(out)


@pytest.mark.parametrize("codec", ["raw", "fp16", "int8"])
def test_an_exported_head_and_its_encoders_give_what_they_give_here(
    aarch64_runner: Runner, cpp_runner: Runner, bundle: Bundle, codec: str
) -> None:
    manifest = bundle.manifest
    entry = next(one for one in reversed(manifest.cuts) if one.encoders)
    boundary = entry.cut.boundary
    assert entry.method is not None and manifest.program is not None
    asked = entry.method if codec == "raw" else f"{entry.method}+{entry.encoders[codec].method}"
    (photo,) = load_file(bundle.path(manifest.golden_input)).values()
    found = []
    for one in (aarch64_runner, cpp_runner):
        stdin = request(1, asked, photo) + b"quit\n"
        done = run(one, "session", "--program", bundle.path(manifest.program), stdin=stdin)
        assert done.returncode == 0, done.stderr
        _, (head, arrays) = answers(done.stdout)
        assert "error" not in head
        found.append(decode(codec, from_device(codec, arrays, boundary), boundary))
    for arm, host in zip(*found, strict=True):
        # A value on the border between two codes may fall on either side: one step of them.
        code = {"raw": 0.0, "fp16": 2**-10 * np.abs(host).max(), "int8": np.ptp(host) / 255}[codec]
        np.testing.assert_allclose(arm, host, atol=TOLERANCE + code, rtol=0)
        assert np.ptp(host) > 100 * TOLERANCE


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
