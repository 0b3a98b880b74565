from __future__ import annotations

import os
import signal

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from mobilesplit.core.errors import ModelError
from mobilesplit.export.workers import Workers, num_workers


@pytest.fixture(scope="module")
def program() -> ExportedProgram:
    return torch.export.export(nn.ReLU(), (torch.ones(1),))


@pytest.mark.parametrize(
    ("operators", "jobs", "expected"),
    [(1000, 4, 3), (250, 4, 1), (150, 4, 0), (1000, 1, 0), (0, 8, 0)],
)
def test_workers_are_started_where_there_is_enough_to_do(
    operators: int, jobs: int, expected: int
) -> None:
    assert num_workers(operators, jobs) == expected


def test_every_task_of_a_worker_that_was_killed_is_an_error_that_says_so(
    program: ExportedProgram,
) -> None:
    with Workers(1) as workers:
        before = [workers.submit(program, "xnnpack", first_stage=0) for _ in range(3)]
        os.kill(workers.pids[0], signal.SIGKILL)
        for future in [*before, workers.submit(program, "xnnpack", first_stage=0)]:
            with pytest.raises(ModelError, match=r"ended \(signal 9\).*--jobs 1"):
                future.result(timeout=60)


def test_what_cannot_be_lowered_is_told_in_a_line_and_the_worker_goes_on(
    program: ExportedProgram,
) -> None:
    with Workers(1) as workers:
        wrong = workers.submit(program, "no such backend", first_stage=0)  # type: ignore[arg-type]
        right = workers.submit(program, "portable", first_stage=0)
        with pytest.raises(ModelError, match=r"cannot be lowered: .*no such backend"):
            wrong.result(timeout=120)
        assert right.result(timeout=120)().inputs


@pytest.mark.parametrize("num_tasks", [0, 9])
def test_leaving_ends_the_workers_and_deletes_what_they_were_given(
    program: ExportedProgram, num_tasks: int
) -> None:
    with pytest.raises(KeyboardInterrupt), Workers(2) as workers:
        pids, folder = workers.pids, workers._folder
        futures = [workers.submit(program, "xnnpack", first_stage=0) for _ in range(num_tasks)]
        assert len(list(folder.iterdir())) == num_tasks
        raise KeyboardInterrupt
    assert all(future.done() for future in futures)
    assert not folder.exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_ends_with_the_one_that_started_it() -> None:
    with Workers(1) as workers:
        process = workers._workers[0].process
        assert process.stdin is not None
        process.stdin.close()  # as the system does for whoever dies
        assert process.wait(timeout=60) == 0
