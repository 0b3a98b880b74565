"""Traces of real inferences (`bench --etdump`) become rows of operators that leave nothing out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mobilesplit.core.errors import InputFileError
from mobilesplit.device.per_operator import BETWEEN, OperatorTime, read_etdump
from mobilesplit.device.runner_build import Runner, build_host_runner
from tests.android_harness.test_runner_contract import events, run

if TYPE_CHECKING:
    from tests.android_harness.conftest import TinyProgram


def trace(runner: Runner, program: TinyProgram, path: Path, *directions: str) -> None:
    stdin = "".join(f"{line}\n" for line in directions).encode()
    words = ["bench", "--program", program.path, "--directed", "--input", program.x_path]
    done = run(runner, *words, "--etdump", path, stdin=stdin)
    assert done.returncode == 0, done.stderr


def by_name(rows: tuple[OperatorTime, ...]) -> dict[str, OperatorTime]:
    found = {row.name: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_every_operator_is_a_row_and_the_shares_sum_to_one(
    cpp_runner: Runner, program: TinyProgram, tmp_path: Path
) -> None:
    path = tmp_path / "trace.etdp"
    trace(cpp_runner, program, path, "load a pair", "run a warmup 2 0 20", "run a measure 9 0 20")
    rows = read_etdump(path)
    found = by_name(rows)
    # The peaks are no matter of XNNPACK's: `amax`, and the casts from and to other dtypes.
    assert not found["amax.out"].delegated and found["amax.out"].calls == 1
    (convolution,) = (row for row in rows if row.name.startswith("Convolution"))
    assert convolution.delegated and convolution.calls == 1
    assert found[BETWEEN].calls == 0
    assert sum(row.share for row in rows) == pytest.approx(1)
    whole_ms = sum(row.median_ms for row in rows)
    assert all(row.share == pytest.approx(row.median_ms / whole_ms) for row in rows)
    assert [row.share for row in rows] == sorted((row.share for row in rows), reverse=True)


def test_the_methods_of_a_series_are_added_up(
    cpp_runner: Runner, program: TinyProgram, tmp_path: Path
) -> None:
    path = tmp_path / "trace.etdp"
    trace(cpp_runner, program, path, "load a pair:finish", "run a measure 5 0 20")
    chain = by_name(read_etdump(path))
    trace(cpp_runner, program, path, "load a pair", "run a measure 5 0 20")
    alone = by_name(read_etdump(path))
    added = set(chain) - set(alone)
    assert any(name.startswith("Fully Connected") for name in added)
    assert set(alone) <= set(chain)


def test_an_inference_of_one_run_is_its_own_figure(
    cpp_runner: Runner, program: TinyProgram, tmp_path: Path
) -> None:
    path = tmp_path / "trace.etdp"
    trace(cpp_runner, program, path, "load a whole")
    assert sum(row.median_ms for row in read_etdump(path)) > 0


def test_what_is_no_trace_is_named(
    cpp_runner: Runner, program: TinyProgram, tmp_path: Path
) -> None:
    path = tmp_path / "trace.etdp"
    path.write_bytes(b"not a trace at all, but long enough for a header")
    with pytest.raises(InputFileError, match="not an ETDump"):
        read_etdump(path)
    trace(cpp_runner, program, path)  # nothing is run
    with pytest.raises(InputFileError, match="holds no inference"):
        read_etdump(path)


def test_a_trace_that_cannot_be_written_shows_before_the_measurement(
    cpp_runner: Runner, program: TinyProgram, tmp_path: Path
) -> None:
    words = ["bench", "--program", program.path, "--methods", "whole", "--input", program.x_path]
    done = run(cpp_runner, *words, "--etdump", tmp_path / "nowhere" / "trace.etdp")
    assert done.returncode == 1
    assert [event["event"] for event in events(done)] == ["started", "error"]
    assert "nowhere/trace.etdp" in events(done)[-1]["message"]


def test_the_python_runner_says_that_it_cannot_trace(program: TinyProgram, tmp_path: Path) -> None:
    words = ["bench", "--program", program.path, "--directed", "--etdump", tmp_path / "trace.etdp"]
    done = run(build_host_runner(prefer="python"), *words)
    assert done.returncode == 2
    assert "cannot trace" in events(done)[-1]["message"]
