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
from mobilesplit.device.device import Device
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
    """Per inference above idle, without its encoders; None where the device shows no rails."""
    encode_ms: dict[str, list[float]] = field(default_factory=dict)
    """By codec: raw samples of its encoder on the head's outputs, after warm-up."""

    @property
    def share(self) -> float:
        """The head's part of the time that it and its encoders ran, 0 to 1."""
        head_ms = sum(self.latency_ms)
        return head_ms / (head_ms + sum(map(sum, self.encode_ms.values())))


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
    device: Device,
    pushed: Pushed,
    manifest: Manifest,
    inputs: tuple[Array, ...],
    *,
    settings: BenchSettings,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> HeadsMeasured:
    """Benchmark every head, and its encoders with it, in random order and one runner process.

    ``seed`` sets the order.
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
    choices = [_choice(entry) for entry in cuts]
    with Bench(device, pushed, methods=choices, inputs=remote_inputs, settings=settings) as bench:
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
                entry = by_method[event["method"]]
                _take_sample(heads[entry.cut.id], entry, event)
            elif kind == "waiting":
                before = read_rails(device) if idle_mw is not None else None
                bench.go()
            elif kind == "done":
                _finish(device, by_method[event["method"]], heads, event, before, idle_mw)
                bench.go()
    return HeadsMeasured(heads, started, idle_mw)


def _choice(entry: BundleCut) -> str:
    """The head and its encoders, as the runner wants them named."""
    assert entry.method is not None
    return "+".join([entry.method, *(encoder.method for encoder in entry.encoders.values())])


def _take_sample(head: HeadMeasurement, entry: BundleCut, event: dict[str, Any]) -> None:
    if event["phase"] != "measure":
        head.warmup_ms.append(event["latency_ms"])
        return
    head.latency_ms.append(event["latency_ms"])
    for codec, encoder in entry.encoders.items():
        head.encode_ms.setdefault(codec, []).append(event["encode_ms"][encoder.method])


def _finish(
    device: Device,
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
        # Rails bracket heads and encoders together: both keep the same cores busy, so time
        # tells them apart.
        head.energy_mj = head.share * energy_above_idle_mj(
            before, after, idle_mw=idle_mw, runs=len(head.latency_ms)
        )


def _idle_mw(device: Device) -> float | None:
    before = read_rails(device)
    if before is None:
        return None
    time.sleep(IDLE_BASELINE_S)
    after = read_rails(device)
    return None if after is None else power_mw(before, after)


def _push_inputs(device: Device, inputs: tuple[Array, ...]) -> list[str]:
    """The inputs as raw element files on the device, as the runner reads them."""
    remote = []
    with tempfile.TemporaryDirectory() as scratch:
        for index, array in enumerate(inputs):
            source = Path(scratch) / f"input{index}.bin"
            source.write_bytes(contiguous(array).tobytes())
            remote.append(f"{REMOTE_FOLDER}/{source.name}")
            push_file(device, source, remote[-1], mode=0o644)
    return remote
