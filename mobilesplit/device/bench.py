"""The runner's benchmark, directed from here: load a series, run it for a while, unload it.

One runner process stays open, so that what is loaded stays warm and whoever directs it can look at
gauges, change the order and stop early between runs. The runner's README describes the lines.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from mobilesplit.core.errors import RunnerError
from mobilesplit.device.device import Device
from mobilesplit.device.push import Pushed
from mobilesplit.device.runner import read_event

_ANSWER_S = 120.0
"""Loading a method of hundreds of megabytes on a slow phone takes tens of seconds."""


class Rule(NamedTuple):
    """Go on while (runs < ``min_runs`` or time < ``min_s``) and time <= ``max_s``."""

    min_runs: int
    min_s: float = 0.0
    max_s: float = 60.0


@dataclass(frozen=True)
class Part:
    """A method of a series, as it was loaded."""

    method: str
    """Its name."""
    load_ms: float
    """Loading it."""
    first_ms: float
    """Its first inference, which is no sample."""
    peak_rss_bytes: int
    """Peak of the process since the series began to load."""


@dataclass(frozen=True)
class LoadedSeries:
    """What loading a series took."""

    parts: tuple[Part, ...]
    """In the order they run."""
    peak_is_its_own: bool
    """Whether the kernel let the peak start anew for this series."""


@dataclass
class Runs:
    """The samples of one phase, in order."""

    latency_ms: list[list[float]] = field(default_factory=list)
    """Per run: the time of each part."""
    encode_ms: dict[str, list[float]] = field(default_factory=dict)
    """Per encoder: its time in each run."""
    at_ms: list[float] = field(default_factory=list)
    """When each run ended, since the runner's start, by its clock."""
    elapsed_ms: float = 0.0
    """The phase from its first run's start to its last one's end."""


class DirectedBench:
    """A runner that measures what it is told. Close it, or use ``with``."""

    def __init__(
        self,
        device: Device,
        pushed: Pushed,
        *,
        inputs: Sequence[str],
        threads: int = 1,
        core_mask: str | None = None,
        etdump: str | None = None,
    ) -> None:
        """Start it. ``inputs`` are files on the device, ``core_mask`` hexadecimal (None: the
        system chooses), ``etdump`` a file there for ExecuTorch's event trace.

        Raises:
            RunnerError: it did not start or cannot load the program; with its own words.
            DeviceGoneError: the connection was lost.
        """
        arguments = [pushed.runner, "bench", "--program", pushed.program, "--directed"]
        for path in inputs:
            arguments += ["--input", path]
        arguments += ["--threads", str(threads)]
        if core_mask is not None:
            arguments += ["--core-mask", core_mask]
        if etdump is not None:
            arguments += ["--etdump", etdump]
        self._command = shlex.join(arguments)
        self._device = device
        self._stream = device.open_shell(self._command)
        try:
            self.started = self._expect("started", _ANSWER_S)
            with self._readable():
                self.load_ms = float(self._expect("loaded", _ANSWER_S)["load_ms"])
        except BaseException:
            self.close()
            raise

    def load(self, series_id: str, series: Sequence[str]) -> LoadedSeries:
        """Load the methods of a series (with encoders: ``METHOD+ENCODER``) and run it once.

        Raises:
            RunnerError: a method is missing, does not fit the one before, or does not load.
        """
        self._say(f"load {series_id} {':'.join(series)}")
        *parts, ready = self._until("ready", _ANSWER_S)
        with self._readable():
            return LoadedSeries(
                tuple(
                    Part(
                        str(event["method"]),
                        float(event["method_load_ms"]),
                        float(event["first_ms"]),
                        int(event["peak_rss_bytes"]),
                    )
                    for event in parts
                ),
                bool(ready.get("peak_rss_is_of_method", True)),
            )

    def run(self, series_id: str, phase: str, rule: Rule) -> Runs:
        """Run a loaded series by a rule.

        Raises:
            RunnerError: the runner failed or died.
            DeviceGoneError: the connection was lost.
        """
        self._say(f"run {series_id} {phase} {rule.min_runs} {rule.min_s:g} {rule.max_s:g}")
        # One inference of a large model on a slow phone may take as long as the whole rule.
        *samples, ran = self._until("ran", rule.max_s + _ANSWER_S)
        runs = Runs()
        with self._readable():
            runs.elapsed_ms = float(ran["elapsed_ms"])
            for event in samples:
                runs.latency_ms.append([float(ms) for ms in event["latency_ms"]])
                runs.at_ms.append(float(event["at_ms"]))
                for encoder, took_ms in event.get("encode_ms", {}).items():
                    runs.encode_ms.setdefault(encoder, []).append(float(took_ms))
        return runs

    def unload(self, series_id: str) -> None:
        """Free what no other loaded series needs."""
        self._say(f"unload {series_id}")
        self._expect("unloaded", _ANSWER_S)

    def close(self) -> None:
        """End the runner; twice is fine."""
        self._stream.close()

    def finish(self) -> None:
        """Let the runner end by itself, so that it writes its event trace."""
        self._say("quit")
        while read_event(self._device, self._stream, self._command, _ANSWER_S) is not None:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Around what looks into events: an older or another runner's may lack something."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunnerError(
                f"the runner sent an event that cannot be read ({error!r}).",
                serial=self._device.serial,
                command=self._command,
                next_step="Use the runner of this version: leave out --runner, or build it again.",
            ) from None

    def _say(self, line: str) -> None:
        self._stream.write(line.encode() + b"\n")

    def _expect(self, kind: str, timeout_s: float) -> dict[str, Any]:
        *_, event = self._until(kind, timeout_s)
        return event

    def _until(self, kind: str, timeout_s: float) -> Iterator[dict[str, Any]]:
        """The runner's events up to and with the first of ``kind``."""
        while True:
            event = read_event(self._device, self._stream, self._command, timeout_s)
            if event is None:
                raise RunnerError(
                    "the runner ended too early.",
                    serial=self._device.serial,
                    command=self._command,
                    command_exit_code=self._stream.exit_code,
                    stderr=self._stream.stderr_text,
                    next_step="Run it again, with --resume.",
                )
            yield event
            if event.get("event") == kind:
                return
