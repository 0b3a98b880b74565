"""What the laptop must recognise has a word of its own, the same from either runner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from mobilesplit.device.runner_build import Runner
from tests.android_harness.test_runner_contract import answers, events, request, run

if TYPE_CHECKING:
    from tests.android_harness.conftest import TinyProgram


class Huge(nn.Module):
    """Needs 256 TiB between its first and its second operator: 1x3x8x8 -> a number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = x.reshape(-1)[:1].reshape(1, 1, 1)
        return (first.expand(1 << 16, 1 << 16, 1 << 14) * 2.0).sum()


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(Huge(), (torch.zeros(1, 3, 8, 8),))
    path = tmp_path_factory.mktemp("huge") / "huge.pte"
    path.write_bytes(to_edge_transform_and_lower({"huge": exported}).to_executorch().buffer)
    return path


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        pytest.param(b"aten::amax", b"aten::zmax", id="operator"),
        pytest.param(b"XnnpackBackend", b"ZnnpackBackend", id="backend of a delegate"),
    ],
)
def test_a_program_that_needs_more_than_the_runner_has_is_a_missing_operator(
    runner: Runner, program: TinyProgram, tmp_path: Path, known: bytes, unknown: bytes
) -> None:
    path = tmp_path / "other.pte"
    path.write_bytes(program.path.read_bytes().replace(known, unknown))
    words = ["--program", path, "--methods", "pair", "--input", program.x_path]
    done = run(runner, "bench", *words)
    assert done.returncode == 1
    error = events(done)[-1]
    assert (error["event"], error["cause"]) == ("error", "missing_operator")
    if runner.kind == "cpp":  # the Python bindings print the name on stderr only
        assert unknown.decode() in error["message"]


def test_a_method_that_memory_does_not_suffice_for_is_out_of_memory(
    runner: Runner, program: TinyProgram, huge: Path
) -> None:
    words = ["--program", huge, "--methods", "huge", "--input", program.x_path]
    done = run(runner, "bench", *words)
    assert done.returncode == 1
    assert events(done)[-1]["cause"] == "out_of_memory"


def test_a_session_answers_with_the_cause_and_goes_on(
    cpp_runner: Runner, program: TinyProgram, huge: Path
) -> None:
    stdin = request(1, "huge", program.x) + request(2, "nothing", program.x)
    done = run(cpp_runner, "session", "--program", huge, stdin=stdin)
    assert done.returncode == 0
    (_, _), (first, _), (second, _) = answers(done.stdout)
    assert first == {"id": 1, "error": "out of memory", "cause": "out_of_memory"}
    assert second["id"] == 2 and "cause" not in second


def test_a_file_that_is_too_short_is_a_bad_program(cpp_runner: Runner, tmp_path: Path) -> None:
    path = tmp_path / "short.pte"
    path.write_bytes(b"")
    done = run(cpp_runner, "info", "--program", path)
    assert json.loads(done.stdout)["cause"] == "bad_program"
