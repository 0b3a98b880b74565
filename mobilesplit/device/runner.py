"""The runner on a device: a session that runs heads; bench.py has its benchmark."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import time
from typing import Any, Self

import numpy as np

from mobilesplit.core.errors import Cause, DeviceError, DeviceGoneError, RunnerError
from mobilesplit.core.results import Array, HeadRun, contiguous
from mobilesplit.core.tensors import ITEMSIZE
from mobilesplit.device.causes import cause_of_event, find_cause, next_step_for
from mobilesplit.device.device import Device
from mobilesplit.device.push import Pushed
from mobilesplit.device.shell_stream import ShellStream

_LAST_WORDS_S = 2.0
_PUSH_AGAIN = "Run `mobilesplit push` again."

MAX_OUTPUT_NBYTES = 1 << 30
"""A boundary larger than this, all its arrays together, is taken for nonsense."""
MAX_OUTPUTS = 1024
_MAX_DIMENSIONS = 8
_DTYPES = {name: np.dtype(name) for name in ITEMSIZE}


class RunnerSession:
    """The runner with the program loaded, answering one inference at a time over one stream.

    It is a `core.results.HeadRunner`.
    """

    def __init__(self, device: Device, stream: ShellStream, command: str) -> None:
        self._device = device
        self._stream = stream
        self._command = command
        self._next_id = 1

    @classmethod
    def open(
        cls, device: Device, pushed: Pushed, *, threads: int = 1, timeout_s: float = 60.0
    ) -> Self:
        """Start the runner and wait until it has loaded the program.

        Raises:
            RunnerError: it did not start or cannot load the program; with its own words.
            DeviceGoneError: the connection was lost.
        """
        command = shlex.join(
            [pushed.runner, "session", "--program", pushed.program, "--threads", str(threads)]
        )
        session = cls(device, device.open_shell(command), command)
        try:
            session._answer(timeout_s)
        except BaseException:
            session.close()
            raise
        return session

    def run_head(
        self,
        method: str,
        inputs: tuple[Array, ...],
        encoder: str | None = None,
        *,
        timeout_s: float = 60.0,
    ) -> HeadRun:
        """Run ``method`` on the device; with ``encoder``, its outputs come instead.

        Raises:
            RunnerError: the runner refused, died or answered nonsense.
            DeviceGoneError: the connection was lost.
        """
        request_id = self._next_id
        self._next_id += 1
        arrays = [contiguous(array) for array in inputs]
        choice = method if encoder is None else f"{method}+{encoder}"
        line = f"run {request_id} {choice} {' '.join(str(array.nbytes) for array in arrays)}\n"
        started_s = time.perf_counter()
        try:
            payload = b"".join([line.encode(), *(array.tobytes() for array in arrays)])
            self._stream.write(payload, timeout_s=timeout_s)
            answer = self._answer(timeout_s)
            if answer.get("id") != request_id:
                raise self._failed(f"answered request {answer.get('id')!r}, not {request_id}")
            refusal = answer.get("error")
            outputs = () if refusal else self._outputs(answer, encoder, timeout_s)
        except DeviceGoneError as error:
            self.close()
            if self._stream.exit_code is None:
                raise
            raise self._failed(f"ended with exit code {self._stream.exit_code}") from error
        except BaseException:
            # Half an exchange leaves bytes of this request for the next one to read: end it here.
            self.close()
            raise
        if refusal:
            raise self._failed(f"refused: {refusal}", cause_of_event(answer))
        return HeadRun(
            outputs,
            head_ms=float(answer["latency_ms"]),
            round_trip_ms=(time.perf_counter() - started_s) * 1e3,
            encode_ms=0.0 if encoder is None else float(answer["encode_ms"]),
        )

    def close(self) -> None:
        """End the runner; twice is fine."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _outputs(
        self, answer: dict[str, Any], encoder: str | None, timeout_s: float
    ) -> tuple[Array, ...]:
        """The arrays that follow an answer; all that it announces is checked first."""
        try:
            for key in ("latency_ms",) if encoder is None else ("latency_ms", "encode_ms"):
                if not (math.isfinite(answer[key]) and answer[key] >= 0):
                    raise ValueError(f"{key} is {answer[key]}")
            specs = [
                (_DTYPES[spec["dtype"]], _shape(spec["shape"]), int(spec["nbytes"]))
                for spec in answer["outputs"]
            ]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._failed(f"sent an answer that cannot be read ({error!r})") from None
        if len(specs) > MAX_OUTPUTS:
            raise self._failed(f"announced {len(specs)} outputs")
        whole_nbytes = 0
        for dtype, shape, nbytes in specs:
            whole_nbytes += nbytes
            if math.prod(shape) * dtype.itemsize != nbytes or whole_nbytes > MAX_OUTPUT_NBYTES:
                raise self._failed(f"announced {nbytes} bytes for {dtype.name} {list(shape)}")
        return tuple(
            np.frombuffer(self._stream.read_exactly(nbytes, timeout_s=timeout_s), dtype).reshape(
                shape
            )
            for dtype, shape, nbytes in specs
        )

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        answer = read_event(self._device, self._stream, self._command, timeout_s)
        if answer is None:
            raise self._failed("ended")
        return answer

    def _failed(self, why: str, cause: Cause | None = None) -> RunnerError:
        return _runner_error(
            f"the runner {why}.", self._device, self._stream, self._command, cause, _PUSH_AGAIN
        )


def _shape(told: Any) -> tuple[int, ...]:
    """Sizes as a runner tells them. Raises TypeError or ValueError for what is no shape."""
    shape = tuple(map(int, told))
    if len(shape) > _MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise ValueError(f"shape {list(shape)}")
    return shape


def read_event(
    device: Device, stream: ShellStream, command: str, timeout_s: float
) -> dict[str, Any] | None:
    """The next JSON line; None when the runner has ended with exit code 0."""
    line = stream.read_line(timeout_s=timeout_s)
    if line is None and stream.exit_code == 0:
        return None
    what, cause, next_step = "the runner ended too early.", None, _PUSH_AGAIN
    if line is not None:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            what = f"the runner printed no JSON: {line[:80]!r}."
        elif event.get("event") == "error":
            what, cause = f"the runner failed: {event.get('message')}.", cause_of_event(event)
            next_step = "Export and push again."
            _await_end(stream)
        else:
            return event
    raise _runner_error(what, device, stream, command, cause, next_step)


def _await_end(stream: ShellStream) -> None:
    """A runner that told its error ends: its exit code and last words are worth a moment."""
    with contextlib.suppress(DeviceError):
        while stream.read_some(_LAST_WORDS_S) is not None:
            pass


def _runner_error(
    what: str,
    device: Device,
    stream: ShellStream,
    command: str,
    cause: Cause | None,
    next_step: str,
) -> RunnerError:
    cause = cause or find_cause(stream.stderr_text, stream.exit_code)
    return RunnerError(
        what,
        serial=device.serial,
        command=command,
        command_exit_code=stream.exit_code,
        stderr=stream.stderr_text,
        cause=cause,
        next_step=next_step_for(cause, next_step),
    )
