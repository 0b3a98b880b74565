from __future__ import annotations

import os
import signal

import pytest
import torch
from torch import nn

from mobilesplit.core.errors import ModelError
from mobilesplit.export.exchange import read_message, write_message
from mobilesplit.export.workers import Workers, num_workers


@pytest.mark.parametrize(
    ("operators", "jobs", "expected"),
    [(1000, 4, 3), (250, 4, 1), (150, 4, 0), (1000, 1, 0), (0, 8, 0)],
)
def test_workers_are_started_where_there_is_enough_to_do(
    operators: int, jobs: int, expected: int
) -> None:
    assert num_workers(operators, jobs) == expected


def test_a_worker_that_was_killed_is_an_error_that_says_so() -> None:
    program = torch.export.export(nn.ReLU(), (torch.ones(1),))
    with Workers(1) as workers:
        os.kill(workers.pids[0], signal.SIGKILL)
        future = workers.submit(program, "xnnpack", 0)
        with pytest.raises(ModelError, match=r"ended \(signal 9\).*--jobs 1"):
            future.result()


def test_what_cannot_be_lowered_is_told_in_a_line() -> None:
    program = torch.export.export(nn.ReLU(), (torch.ones(1),))
    with Workers(1) as workers:
        future = workers.submit(program, "no such backend", 0)  # type: ignore[arg-type]
        with pytest.raises(ModelError, match=r"cannot be lowered: .*no such backend"):
            future.result()


def test_leaving_ends_the_workers() -> None:
    with Workers(2) as workers:
        pids = workers.pids
        assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_ends_with_the_one_that_started_it() -> None:
    with Workers(1) as workers:
        process = workers._workers[0].process
        assert process.stdin is not None
        process.stdin.close()  # as the system does for whoever dies
        assert process.wait(timeout=60) == 0


def test_half_a_message_is_none() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
        write_message(sink, b"whole")
        sink.write(b"\x09\0\0\0\0\0\0\0half")
        sink.close()
        assert read_message(source) == b"whole"
        assert read_message(source) is None
