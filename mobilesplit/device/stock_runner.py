"""ExecuTorch's own executor_runner instead of ours: one process a head, times read from its log.

For who brings a binary of their own (``--runner PATH --runner-kind executor_runner``). It knows
no session, no encoders and no series, and loads the program again for every head. Its lines and
flags are those of ExecuTorch 1.3.1 and newer (examples/portable/executor_runner).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mobilesplit.core.errors import Cause, RunnerError
from mobilesplit.device.causes import find_cause, next_step_for

if TYPE_CHECKING:
    from mobilesplit.device.device import Device, ShellResult

START_LIMIT_S = 60.0
"""Parsing the program and loading one method takes seconds on the slowest phone."""

_ITERATION = re.compile(r"Iteration (\d+) of (\d+): ([\d.]+) ms")
_LOADED = re.compile(r"Model loaded in ([\d.]+) ms")
_UNKNOWN_FLAG = re.compile(r"unknown command line flag '(\w+)'")

_OWN_RUNNER = "Use mobilesplit's own runner (leave out --runner-kind)."
_EXPLANATIONS: tuple[tuple[str, Cause | None, str, str], ...] = (
    (
        r"MemoryAllocationFailed|status 0x21|Memory allocation failed",
        "out_of_memory",
        "its fixed pools (4 MB for a method, 1 MB for its kernels) are too small for this head",
        _OWN_RUNNER,
    ),
    (
        r"Backend \S+ is not registered",
        None,
        "it was built without the backend that the heads were exported for",
        "Build it with EXECUTORCH_BUILD_XNNPACK=ON, or export with --backend portable.",
    ),
    (
        r"OperatorMissing|status 0x14|[Mm]issing operator",
        "newer_program",
        "it was built without a kernel that the head needs",
        "Build it from the ExecuTorch that exported the bundle, with the optimized and quantized "
        "kernels.",
    ),
    (
        r"Failed to parse model file|InvalidProgram|status 0x23",
        "bad_program",
        "the program is damaged, or of a newer ExecuTorch than it",
        "Build it from the ExecuTorch that exported the bundle.",
    ),
)
"""What its log says, the cause as our own runner names it, what it means, and the next step."""


@dataclass(frozen=True)
class StockMeasurement:
    """What executor_runner measured of one method."""

    latency_ms: tuple[float, ...]
    """The measured runs in order; the time of the execution alone."""
    first_ms: float
    """The first inference, which is no sample."""
    load_ms: float
    """Parsing the program and loading the method."""


def measure_with_stock_runner(
    device: Device,
    runner: str,
    program: str,
    method: str,
    inputs: Sequence[str],
    *,
    warmup_runs: int,
    runs: int,
    threads: int,
    slowest_run_s: float,
) -> StockMeasurement:
    """Run ``method`` once, ``warmup_runs`` times and ``runs`` times, in one process.

    ``runner``, ``program`` and ``inputs`` are absolute paths on the device; the inputs lie in one
    folder. It is given up when the start and ``slowest_run_s`` for every run have passed.

    Raises:
        RunnerError: it did not start, failed, or printed no times; with what that means.
        DeviceTimeoutError: it did not end in that time.
        DeviceGoneError: the connection was lost.
    """
    folders = {PurePosixPath(path).parent for path in inputs}
    assert len(folders) == 1, "the inputs lie in one folder"
    names = ",".join(PurePosixPath(path).name for path in inputs)
    asked = 1 + warmup_runs + runs
    words = [
        runner,
        f"--model_path={program}",
        f"--method_name={method}",
        f"--inputs={names}",
        f"--num_executions={asked}",
        f"--cpu_threads={threads}",
    ]
    # exec: on a lost connection Android ends the shell, and would leave a child of it running.
    command = f"cd {shlex.quote(str(folders.pop()))} && exec {shlex.join(words)}"
    result = device.shell(command, timeout_s=START_LIMIT_S + asked * slowest_run_s)
    log = f"{result.text}\n{result.stderr}"
    if result.exit_code != 0:
        raise _failure(device, command, result, log)
    times = [(int(i), int(of), float(ms)) for i, of, ms in _ITERATION.findall(log)]
    loaded = _LOADED.search(log)
    if loaded is None or [(i, of) for i, of, _ in times] != [(i + 1, asked) for i in range(asked)]:
        raise _error(
            device, command, result,
            f"printed the times of {len(times)} of {asked} runs",
            "It must be of ExecuTorch 1.3.1 or newer, built with EXECUTORCH_ENABLE_LOGGING=ON and, "
            "on Android, EXECUTORCH_PAL_DEFAULT=posix (else its log goes to logcat).",
        )  # fmt: skip
    return StockMeasurement(
        latency_ms=tuple(ms for _, _, ms in times[1 + warmup_runs :]),
        first_ms=times[0][2],
        load_ms=float(loaded[1]),
    )


def _failure(device: Device, command: str, result: ShellResult, log: str) -> RunnerError:
    """The error of a run that ended badly, with what its log means."""
    cause = find_cause(log, result.exit_code)
    if cause:
        next_step = next_step_for(cause, _OWN_RUNNER)
        return _error(device, command, result, "failed", next_step, cause)
    flag = _UNKNOWN_FLAG.search(log)
    if flag:
        what = f"does not know --{flag[1]}"
        next_step = "Build it from ExecuTorch 1.3.1 or newer."
        return _error(device, command, result, what, next_step)
    for pattern, cause, meaning, next_step in _EXPLANATIONS:
        if re.search(pattern, log):
            return _error(device, command, result, f"failed: {meaning}", next_step, cause)
    return _error(device, command, result, "failed", _OWN_RUNNER)


def _error(
    device: Device,
    command: str,
    result: ShellResult,
    what: str,
    next_step: str,
    cause: Cause | None = None,
) -> RunnerError:
    return RunnerError(
        f"executor_runner {what}.",
        serial=device.serial,
        command=command,
        command_exit_code=result.exit_code,
        stderr=result.stderr,
        cause=cause,
        next_step=next_step,
    )
