"""Every head of a bundle, measured on the device: raw samples, peak memory, energy above idle."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilesplit.core.manifest import BundleCut, Manifest
from mobilesplit.core.results import Array, contiguous
from mobilesplit.device.adb import AdbDevice
from mobilesplit.device.energy import (
    RailReading,
    energy_above_idle_mj,
    power_mw,
    read_rails,
)
from mobilesplit.device.push import REMOTE_FOLDER, Pushed, push_file
from mobilesplit.device.runner import Bench, BenchSettings

IDLE_BASELINE_S = 0.5


@dataclass
class HeadMeasurement:
    """What the runner and the rails said of one head."""

    latency_ms: list[float] = field(default_factory=list)
    """Raw samples after warm-up."""
    warmup_ms: list[float] = field(default_factory=list)
    """Raw samples of the warm-up, kept apart."""
    first_ms: float = 0.0
    """The very first inference."""
    load_ms: float = 0.0
    """Loading the method."""
    peak_bytes: int | None = None
    """Peak resident memory of the runner."""
    energy_mj: float | None = None
    """Per inference above idle; None where the device shows no rails."""


@dataclass(frozen=True)
class HeadsMeasured:
    """One pass over the heads of a bundle."""

    heads: dict[str, HeadMeasurement]
    """By cut id; ``input`` is not among them, for it runs nothing."""
    started: dict[str, Any]
    """The runner's first event: which runner, version, threads."""
    idle_mw: float | None
    """Baseline that was subtracted; None without rails."""


def measure_heads(
    device: AdbDevice,
    pushed: Pushed,
    manifest: Manifest,
    inputs: tuple[Array, ...],
    *,
    settings: BenchSettings,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> HeadsMeasured:
    """Benchmark every head in random order (``seed``) and in one runner process.

    ``progress`` gets the cut id, heads done and heads in all.

    Raises:
        RunnerError: the runner failed on a head.
        DeviceGoneError: the connection was lost.
    """
    cuts = [entry for entry in manifest.cuts if entry.method is not None]
    # Drift (heat, other load) then spreads over the cuts instead of favouring the first.
    random.Random(seed).shuffle(cuts)  # noqa: S311  # an order, not a secret
    by_method = {entry.method: entry for entry in cuts}
    remote_inputs = _push_inputs(device, inputs)
    idle_mw = _idle_mw(device)
    heads: dict[str, HeadMeasurement] = {}
    started: dict[str, Any] = {}
    before: RailReading | None = None
    methods = [entry.method for entry in cuts if entry.method is not None]
    with Bench(device, pushed, methods=methods, inputs=remote_inputs, settings=settings) as bench:
        for event in bench.events():
            kind = event.get("event")
            if kind == "started":
                started = event
            elif kind == "method":
                entry = by_method[event["method"]]
                progress(entry.cut.id, len(heads), len(cuts))
                heads[entry.cut.id] = HeadMeasurement(
                    first_ms=event["first_ms"], load_ms=event["method_load_ms"]
                )
            elif kind == "sample":
                _take_sample(heads[by_method[event["method"]].cut.id], event)
            elif kind == "waiting":
                before = read_rails(device) if idle_mw is not None else None
                bench.go()
            elif kind == "done":
                _finish(device, by_method[event["method"]], heads, event, before, idle_mw)
                bench.go()
    return HeadsMeasured(heads, started, idle_mw)


def _take_sample(head: HeadMeasurement, event: dict[str, Any]) -> None:
    samples = head.latency_ms if event["phase"] == "measure" else head.warmup_ms
    samples.append(event["latency_ms"])


def _finish(
    device: AdbDevice,
    entry: BundleCut,
    heads: dict[str, HeadMeasurement],
    event: dict[str, Any],
    before: RailReading | None,
    idle_mw: float | None,
) -> None:
    head = heads[entry.cut.id]
    head.peak_bytes = event["peak_rss_bytes"]
    after = read_rails(device) if before is not None else None
    if before is not None and after is not None and idle_mw is not None:
        head.energy_mj = energy_above_idle_mj(
            before, after, idle_mw=idle_mw, runs=len(head.latency_ms)
        )


def _idle_mw(device: AdbDevice) -> float | None:
    before = read_rails(device)
    if before is None:
        return None
    time.sleep(IDLE_BASELINE_S)
    after = read_rails(device)
    return None if after is None else power_mw(before, after)


def _push_inputs(device: AdbDevice, inputs: tuple[Array, ...]) -> list[str]:
    """The inputs as raw element files on the device, as the runner reads them."""
    remote = []
    with tempfile.TemporaryDirectory() as scratch:
        for index, array in enumerate(inputs):
            source = Path(scratch) / f"input{index}.bin"
            source.write_bytes(contiguous(array).tobytes())
            remote.append(f"{REMOTE_FOLDER}/{source.name}")
            push_file(device, source, remote[-1], mode=0o644)
    return remote
