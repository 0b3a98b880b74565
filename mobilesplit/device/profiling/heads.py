"""From the journal to the heads: samples, intervals, and how far one pass was corrected. Pure.

A head's time in one pass is the sum of its stages. The anchors, which ran alone in the same
rounds, say by what that differs from the head itself: the ratio of the two, round by round, so
that drift drops out. An anchor is corrected by its own ratio; between two anchors that are
composed of the same stages it is interpolated over the time passed, in front of the first it is
the first's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from mobilesplit.core.manifest import BundleCut
from mobilesplit.core.statistics import (
    Interval,
    median,
    median_interval,
)
from mobilesplit.device.profiling.journal import Loaded, Measured, Record, ThermalChecked
from mobilesplit.device.profiling.plan import CHAIN, HeadPlan, anchor_id


@dataclass(frozen=True)
class Correction:
    """What makes a sum of stages a head."""

    ratio: float
    """Head alone over the sum of its stages."""
    half_width: float | None
    """Of the ratio's 95 % interval; None from too few rounds."""
    anchored: bool
    """Whether this very head was measured alone."""


@dataclass
class Head:
    """One head, measured."""

    cut: str
    """Its cut."""
    groups: list[list[float]]
    """Samples in ms by session, corrected where they come from a pass."""
    correction: Correction | None = None
    """None for a head that was measured alone."""
    alone_ms: list[float] = field(default_factory=list)
    """Of an anchor in a pass: the samples of the head alone, as they were."""
    warmup_ms: list[float] = field(default_factory=list)
    """Warm-up samples; of a pass, sums of stages."""
    first_ms: float | None = None
    """First inference; of a pass, the sum of its stages' first ones."""
    load_ms: float | None = None
    """Loading the head's method; None where it was never loaded by itself."""
    peak_bytes: int | None = None
    """Peak memory of the runner's process with this head alone; predicted unless ``peak_alone``."""
    peak_alone: bool = False
    """Whether the peak was measured with nothing else loaded."""
    encode_ms: dict[str, list[float]] = field(default_factory=dict)
    """By encoder method: samples."""

    @property
    def samples_ms(self) -> list[float]:
        """All samples in the order taken."""
        return [sample for group in self.groups for sample in group]

    def interval(self) -> Interval | None:
        """95 % interval of the median, with what is uncertain about the correction; None where
        there are too few samples."""
        interval = median_interval(self.groups)
        if interval is None or self.correction is None:
            return interval
        if self.correction.half_width is None:
            return None
        middle = median(self.samples_ms)
        if not middle:
            return interval
        relative = math.hypot(
            interval.half_width / middle, self.correction.half_width / self.correction.ratio
        )
        return Interval(middle * (1 - relative), middle * (1 + relative))


def heads_of(plan: HeadPlan, records: Sequence[Record]) -> dict[str, Head]:
    """Every head of ``plan`` that has samples, by cut id, in the plan's order."""
    kept = [r for r in _valid(records) if isinstance(r, Measured)]
    found = _from_pass(plan, kept) if plan.chain else _alone(plan, kept)
    for entry in plan.cuts:
        if (head := found.get(entry.cut.id)) is not None:
            wanted = {encoder.method for encoder in entry.encoders.values()}
            for measured in kept:
                for encoder, samples in measured.encode_ms.items():
                    if encoder in wanted:
                        head.encode_ms.setdefault(encoder, []).extend(samples)
    _add_loading(plan, found, records)
    return found


def passes_of(plan: HeadPlan, records: Iterable[Record]) -> dict[str, Any]:
    """The raw times behind heads that were measured in one pass: the cuts where the stages end,
    and by session each pass's times in ms. Empty where heads were measured alone."""
    groups = _by_session(_samples(records, CHAIN, None))
    if not plan.chain or not groups:
        return {}
    return {"cuts": [entry.cut.id for entry in plan.chain], "stage_ms": groups}


def count_runs(records: Iterable[Record], series: str, *, session: int | None = None) -> int:
    """Valid samples of a series so far; of one session, or of all."""
    return sum(len(r.latency_ms) for r in _samples(records, series, session))


def measured_s(records: Iterable[Record], series: str, *, session: int | None = None) -> float:
    """Seconds that a series has run for its valid samples; of one session, or of all."""
    runs = (run for r in _samples(records, series, session) for run in r.latency_ms)
    return math.fsum(map(sum, runs)) / 1e3


def has_encoded(records: Iterable[Record], series: str) -> bool:
    """Whether the encoders of a series have valid samples."""
    return any(isinstance(r, Measured) and r.series == series for r in _valid(records))


def lacks_own_peak(records: Iterable[Record], entry: BundleCut) -> bool:
    """Whether this head has never been loaded with nothing else beside it."""
    series = anchor_id(entry)
    return not any(isinstance(r, Loaded) and r.series == series and r.alone for r in records)


def _samples(records: Iterable[Record], series: str, session: int | None) -> list[Measured]:
    return [
        r
        for r in _valid(records)
        if isinstance(r, Measured)
        and r.series == series
        and r.phase == "measure"
        and session in (None, r.session)
    ]


def _valid(records: Iterable[Record]) -> list[Record]:
    """All but the measurements that a thermal check has made void."""
    kept: list[Record] = []
    pending: list[Record] = []
    for record in records:
        if isinstance(record, ThermalChecked):
            if not record.void:
                kept += pending
            pending = []
        elif isinstance(record, Measured) and record.phase != "warmup":
            pending.append(record)
        else:
            kept.append(record)
    # What no check has followed yet stands until one says otherwise.
    return kept + pending


def _alone(plan: HeadPlan, measured: Sequence[Measured]) -> dict[str, Head]:
    heads = {}
    for entry in plan.cuts:
        series = anchor_id(entry)
        groups = _by_session(r for r in measured if r.series == series and r.phase == "measure")
        if groups:
            warmup = [r for r in measured if r.series == series and r.phase == "warmup"]
            heads[entry.cut.id] = Head(
                entry.cut.id,
                [[sum(run) for run in group] for group in groups],
                warmup_ms=[sum(run) for r in warmup for run in r.latency_ms],
            )
    return heads


def _from_pass(plan: HeadPlan, measured: Sequence[Measured]) -> dict[str, Head]:
    passes = [r for r in measured if r.series == CHAIN and r.phase == "measure"]
    groups = [[list(accumulate(run)) for run in group] for group in _by_session(passes)]
    if not groups:
        return {}
    place = {entry.cut.id: index for index, entry in enumerate(plan.chain)}
    every = [run for group in groups for run in group]
    reached_ms = [median([run[index] for run in every]) for index in range(len(plan.chain))]
    corrections = _corrections(plan, measured, place, reached_ms)
    warmup = [r for r in measured if r.series == CHAIN and r.phase == "warmup"]
    heads = {}
    for entry in plan.cuts:
        index, correction = place[entry.cut.id], corrections[entry.cut.id]
        alone = [r for r in measured if r.series == anchor_id(entry) and r.phase == "measure"]
        heads[entry.cut.id] = Head(
            entry.cut.id,
            [[run[index] * correction.ratio for run in group] for group in groups],
            correction,
            alone_ms=[sum(run) for r in alone for run in r.latency_ms],
            warmup_ms=[sum(run[: index + 1]) for r in warmup for run in r.latency_ms],
        )
    return heads


def _corrections(
    plan: HeadPlan,
    measured: Sequence[Measured],
    place: dict[str, int],
    reached_ms: Sequence[float],
) -> dict[str, Correction]:
    """For every cut of the plan; 1 with nothing known of it where no anchor has run yet."""
    anchored: dict[str, Correction] = {}
    for entry in plan.cuts:
        groups = _ratios(measured, anchor_id(entry), place[entry.cut.id])
        if groups:
            ratio = median([ratio for group in groups for ratio in group])
            interval = median_interval(groups)
            half = None if interval is None else interval.half_width
            anchored[entry.cut.id] = Correction(ratio, half, True)
    line = [
        (reached_ms[place[entry.cut.id]], anchored[entry.cut.id])
        for entry in plan.cuts
        if entry.cut.id in anchored and not entry.fused
    ]
    return {
        entry.cut.id: anchored.get(entry.cut.id)
        or _interpolated(line, reached_ms[place[entry.cut.id]])
        for entry in plan.cuts
    }


def _ratios(measured: Sequence[Measured], series: str, index: int) -> list[list[float]]:
    """By session, for each round: the anchor's time over the sum of its stages in the round."""
    alone: dict[tuple[int, int], list[float]] = {}
    summed: dict[tuple[int, int], list[float]] = {}
    for r in measured:
        if r.phase == "measure" and r.series == series:
            alone.setdefault((r.session, r.round), []).extend(sum(run) for run in r.latency_ms)
        elif r.phase == "measure" and r.series == CHAIN:
            times = [sum(run[: index + 1]) for run in r.latency_ms]
            summed.setdefault((r.session, r.round), []).extend(times)
    groups: dict[int, list[float]] = {}
    for key, times in alone.items():
        if key in summed and (middle := median(summed[key])) > 0:
            groups.setdefault(key[0], []).append(median(times) / middle)
    return [groups[session] for session in sorted(groups)]


def _interpolated(line: Sequence[tuple[float, Correction]], at_ms: float) -> Correction:
    """Between the anchors on both sides, in time passed; in front of the first, the first's."""
    if not line:
        return Correction(1.0, None, False)
    before = [point for point in line if point[0] <= at_ms] or [line[0]]
    after = [point for point in line if point[0] >= at_ms] or [line[-1]]
    (low_ms, low), (high_ms, high) = before[-1], after[0]
    share = (at_ms - low_ms) / (high_ms - low_ms) if high_ms > low_ms else 0.0
    half = None
    if low.half_width is not None and high.half_width is not None:
        # Between them nothing was measured: the wider of the two, and as much again as the line
        # could be off if the ratio went in one step.
        half = math.hypot(max(low.half_width, high.half_width), (high.ratio - low.ratio) / 2)
    return Correction(low.ratio + share * (high.ratio - low.ratio), half, False)


def _by_session(measured: Iterable[Measured]) -> list[list[tuple[float, ...]]]:
    groups: dict[int, list[tuple[float, ...]]] = {}
    for r in measured:
        groups.setdefault(r.session, []).extend(r.latency_ms)
    return [groups[session] for session in sorted(groups)]


def _add_loading(plan: HeadPlan, heads: dict[str, Head], records: Sequence[Record]) -> None:
    """Load and first-inference times and peaks. A peak is a head's own where it was loaded with
    nothing else; of the others it is told from the chain's growing peak."""
    loads: dict[str, Loaded] = {}
    for r in records:
        if isinstance(r, Loaded) and (r.series not in loads or r.alone > loads[r.series].alone):
            loads[r.series] = r
    chain = loads.get(CHAIN)
    places = {entry.cut.id: index for index, entry in enumerate(plan.chain)}
    for entry in plan.cuts:
        head, load = heads.get(entry.cut.id), loads.get(anchor_id(entry))
        if head is None:
            continue
        if load is not None:
            head.load_ms, head.first_ms = sum(load.load_ms), sum(load.first_ms)
            if load.alone and load.peak_rss_bytes:
                head.peak_bytes, head.peak_alone = max(load.peak_rss_bytes), True
        elif chain is not None:
            head.first_ms = sum(chain.first_ms[: places[entry.cut.id] + 1])
    if chain is None or not chain.peak_rss_bytes:
        return
    chain_peaks = {cut: chain.peak_rss_bytes[index] for cut, index in places.items()}
    known = [
        (chain_peaks[cut], head.peak_bytes)
        for cut, head in heads.items()
        if head.peak_alone and head.peak_bytes is not None and cut in chain_peaks
    ]
    for cut, head in heads.items():
        if known and head.peak_bytes is None and cut in chain_peaks:
            head.peak_bytes = _peak_between(known, chain_peaks[cut])


def _peak_between(known: Sequence[tuple[int, int]], chain_peak: int) -> int:
    """Predicted: stages that are loaded together keep what a head would free, by as much
    as at the nearest head whose own peak is known."""
    own_chain, own = min(known, key=lambda pair: abs(pair[0] - chain_peak))
    return max(0, own + chain_peak - own_chain)
