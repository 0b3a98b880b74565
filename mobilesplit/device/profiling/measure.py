"""Runs a plan on one device, round by round, into the journal.

One rule: everything that is decided here (what is missing, whether it is enough) is read off the
journal, so that a profile that was cut off goes on where it stood.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from mobilesplit.core.manifest import BundleCut
from mobilesplit.core.statistics import median
from mobilesplit.device.bench import DirectedBench, LoadedSeries, Rule, Runs
from mobilesplit.device.device import Device
from mobilesplit.device.profiling.heads import Head, count_runs, heads_of, measured_s
from mobilesplit.device.profiling.journal import (
    Journal,
    Loaded,
    Measured,
    SessionStarted,
    ThermalChecked,
)
from mobilesplit.device.profiling.plan import (
    CHAIN,
    ENCODED,
    HeadPlan,
    anchor_id,
    runs_per_turn,
    with_encoders,
)
from mobilesplit.device.profiling.settings import ProfileSettings
from mobilesplit.device.push import Pushed
from mobilesplit.device.thermal import read_thermal, wait_until_cool

_CHECK_EVERY_S = 5.0
"""Between two looks at the thermal status: each costs the device some 50 ms."""
_MAX_COOLINGS = 3
"""A device that is held back again after so many pauses is so at this load: measured as it is."""
_ENCODE_RUNS = 5
"""Samples of every encoder: a small term of a job, and each costs a pass over the stages."""
_ONE_RUN = Rule(1)

DependsOn = Callable[[dict[str, Head]], Collection[str]]
"""From the heads so far to the ids of the cuts that a plan could turn on."""


@dataclass(frozen=True)
class Subject:
    """What is measured, and where."""

    device: Device
    """Connected."""
    pushed: Pushed
    """Runner and program on it."""
    inputs: tuple[str, ...]
    """Files on it that the heads run on."""
    plan: HeadPlan
    """What to run."""
    settings: ProfileSettings
    """How long."""


def measure_heads(
    subject: Subject,
    journal: Journal,
    *,
    deadline_s: float = math.inf,
    depends_on: DependsOn | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Measure what the journal lacks.

    Args:
        deadline_s: by ``time.monotonic``; measuring ends at the first round behind it, with what
            there is then (at least a round).
        depends_on: with it, once every head has its fewest samples, those that it names are
            measured alone as well until their intervals are tight.

    Raises:
        RunnerError: the runner failed on a head.
        DeviceGoneError: the connection was lost; the journal can be resumed.
    """
    measuring = _Measuring(subject, journal, deadline_s, depends_on, progress)
    measuring.run()


class _Measuring:
    """One call of `measure_heads`."""

    def __init__(
        self,
        subject: Subject,
        journal: Journal,
        deadline_s: float,
        depends_on: DependsOn | None,
        progress: Callable[[str], None],
    ) -> None:
        self._subject = subject
        self._settings = subject.settings
        self._plan = subject.plan
        self._journal = journal
        self._deadline_s = deadline_s
        self._depends_on = depends_on
        self._progress = progress
        self._checked_s = time.monotonic()
        self._coolings = sum(isinstance(r, ThermalChecked) and r.void for r in journal.records)

    def run(self) -> None:
        """Sessions until there is enough."""
        while not self._is_enough():
            self._session()
            if time.monotonic() > self._deadline_s:
                return

    def _session(self) -> None:
        subject, number = self._subject, self._journal.next_session
        with DirectedBench(
            subject.device,
            subject.pushed,
            inputs=subject.inputs,
            threads=self._settings.threads,
            core_mask=self._settings.core_mask,
        ) as bench:
            self._journal.add(
                SessionStarted(session=number, started=bench.started, load_ms=bench.load_ms)
            )
            session = _Session(self, bench, number)
            session.one_pass() if self._plan.chain else session.one_by_one()

    # What a session asks.

    @property
    def plan(self) -> HeadPlan:
        return self._plan

    @property
    def settings(self) -> ProfileSettings:
        return self._settings

    def heads(self) -> dict[str, Head]:
        """As far as they are measured."""
        return heads_of(self._plan, self._journal.records)

    def series_ids(self) -> list[str]:
        """The series whose samples count: the chain, or every head alone."""
        return [CHAIN] if self._plan.chain else [anchor_id(entry) for entry in self._plan.cuts]

    def runs_done(self, series: str) -> int:
        """Valid samples of a series."""
        return count_runs(self._journal.records, series)

    def has_encoded(self, series: str) -> bool:
        """Whether the encoders of a series have been measured."""
        return any(isinstance(r, Measured) and r.series == series for r in self._journal.records)

    def session_target(self, series: str) -> int:
        """Samples that a series has at the end of the next session: an equal share each."""
        done = self.runs_done(series)
        return min(self._settings.min_runs, (done // self.share + 1) * self.share)

    @property
    def share(self) -> int:
        """A session's share of the fewest samples."""
        return math.ceil(self._settings.min_runs / self._settings.sessions)

    def has_least(self, series: str) -> bool:
        """Whether a series has its fewest samples and seconds."""
        if self.runs_done(series) < self._settings.min_runs:
            return False
        spent_s = measured_s(self._journal.records, series)
        return spent_s >= self._settings.min_s or self.is_exhausted(series)

    def is_exhausted(self, series: str) -> bool:
        """Whether a series has its most samples or seconds."""
        spent_s = measured_s(self._journal.records, series)
        return self.runs_done(series) >= self._settings.max_runs or spent_s >= self._settings.max_s

    def imprecise(self) -> list[str]:
        """Cuts whose interval is wider than wanted."""
        return [cut for cut, head in self.heads().items() if not self._is_tight(head)]

    def contenders(self) -> list[BundleCut]:
        """Heads to measure alone: a plan could turn on them, and their interval is wide."""
        if self._depends_on is None:
            return []
        heads = self.heads()
        named = self._depends_on(heads)
        anchors = {entry.cut.id for entry in self._plan.anchors}
        return [
            entry
            for entry in self._plan.cuts
            if entry.cut.id in named
            and entry.cut.id not in anchors
            and not self._is_tight(heads[entry.cut.id])
        ]

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._deadline_s

    def add_loaded(self, number: int, series: str, loaded: LoadedSeries, *, alone: bool) -> None:
        parts = loaded.parts
        self._journal.add(
            Loaded(
                session=number,
                series=series,
                methods=tuple(part.method for part in parts),
                load_ms=tuple(part.load_ms for part in parts),
                first_ms=tuple(part.first_ms for part in parts),
                peak_rss_bytes=tuple(part.peak_rss_bytes for part in parts),
                alone=alone and loaded.peak_is_its_own,
            )
        )

    def add_runs(self, number: int, round_number: int, series: str, phase: str, runs: Runs) -> None:
        self._journal.add(
            Measured.model_validate(
                {
                    "session": number,
                    "round": round_number,
                    "series": series,
                    "phase": phase,
                    "latency_ms": runs.latency_ms,
                    "encode_ms": runs.encode_ms,
                    "at_ms": runs.at_ms,
                }
            )
        )

    def report(self, number: int, what: str) -> None:
        """Progress in a line: how far, how sure."""
        heads = self.heads()
        deepest = heads.get(self._plan.cuts[-1].cut.id)
        shown = "" if deepest is None else f", {deepest.cut} {median(deepest.samples_ms):.1f} ms"
        self._progress(f"session {number + 1}: {what}{shown}")

    def check_thermal(self, number: int, round_number: int, *, now: bool = False) -> None:
        """Every few seconds: where Android holds the device back, drop what was measured; cool."""
        if not now and time.monotonic() - self._checked_s < _CHECK_EVERY_S:
            return
        device = self._subject.device
        thermal = read_thermal(device)
        void = thermal.throttled and self._coolings < _MAX_COOLINGS
        self._journal.add(
            ThermalChecked(
                session=number,
                round=round_number,
                status=thermal.status,
                celsius=thermal.celsius,
                throttled=thermal.throttled,
                void=void,
            )
        )
        if void:
            self._coolings += 1
            wait_until_cool(
                device, self._settings.cool_to_c, self._settings.cool_max_s, progress=self._progress
            )
        self._checked_s = time.monotonic()

    def _is_enough(self) -> bool:
        every = self.series_ids()
        if not all(self.has_least(series) for series in every):
            return False
        if self.is_over() or all(self.is_exhausted(series) for series in every):
            return True
        wanted = [e.cut.id for e in self.contenders()] if self._depends_on else self.imprecise()
        return not wanted

    def _is_tight(self, head: Head) -> bool:
        interval = head.interval()
        return interval is not None and interval.half_width <= self._settings.precision * median(
            head.samples_ms
        )


class _Session:
    """One runner process of a profile."""

    def __init__(self, measuring: _Measuring, bench: DirectedBench, number: int) -> None:
        self._all = measuring
        self._bench = bench
        self._number = number
        self._loaded: set[str] = set()

    def one_pass(self) -> None:
        """Rounds of passes over the stages and runs of the anchors."""
        measuring, plan = self._all, self._all.plan
        if self._number == 0:
            # Each alone, for its own peak memory; then all together, for rounds without loading.
            for entry in plan.order(measuring.settings.seed, -1):
                self._load(anchor_id(entry), [_head(entry)], alone=True)
                self._bench.unload(anchor_id(entry))
                self._loaded.discard(anchor_id(entry))
        self._load(CHAIN, plan.stages(), alone=self._number == 0)
        self._warm_up(CHAIN)
        target = measuring.session_target(CHAIN)
        settings = measuring.settings
        passes = plan.passes_per_round(settings.min_runs, settings.sessions)
        anchors: Sequence[BundleCut] = plan.anchors
        round_number = 0
        while True:
            self._round(round_number, passes, anchors)
            measuring.report(self._number, f"{measuring.runs_done(CHAIN)} passes over every cut")
            measuring.check_thermal(self._number, round_number)
            round_number += 1
            if measuring.is_over() or measuring.is_exhausted(CHAIN):
                break
            if not measuring.has_least(CHAIN):
                if measuring.runs_done(CHAIN) >= target < measuring.settings.min_runs:
                    break  # the next session's share
                continue
            anchors = [*plan.anchors, *measuring.contenders()]
            if len(anchors) == len(plan.anchors) and not measuring.imprecise():
                break
        if not measuring.has_encoded(ENCODED):
            self._encode(ENCODED, plan.encoded_stages())
        measuring.check_thermal(self._number, round_number, now=True)

    def one_by_one(self) -> None:
        """Every head alone, in random order."""
        measuring, plan = self._all, self._all.plan
        for place, entry in enumerate(plan.order(measuring.settings.seed, self._number)):
            series = anchor_id(entry)
            if measuring.has_least(series) and entry.cut.id not in measuring.imprecise():
                continue
            self._load(series, [_head(entry)], alone=True)
            self._warm_up(series)
            target = measuring.session_target(series)
            while True:
                missing = target - measuring.runs_done(series)
                count = missing if missing > 0 else measuring.share
                self._measure(series, place, Rule(count, max_s=measuring.settings.max_s))
                measuring.report(
                    self._number, f"{entry.cut.id}, head {place + 1} of {len(plan.cuts)}"
                )
                measuring.check_thermal(self._number, place)
                if measuring.is_exhausted(series) or measuring.is_over():
                    break
                if measuring.has_least(series):
                    if entry.cut.id not in measuring.imprecise():
                        break
                elif measuring.runs_done(series) >= target < measuring.settings.min_runs:
                    break
            encoded = f"{series}.{ENCODED}"
            if entry.encoders and not measuring.has_encoded(encoded):
                self._encode(encoded, [with_encoders(_head(entry), entry)])
            self._bench.unload(series)
            self._loaded.discard(series)
            if measuring.is_over():
                break
        measuring.check_thermal(self._number, len(plan.cuts), now=True)

    def _round(self, number: int, passes: int, anchors: Sequence[BundleCut]) -> None:
        """Some passes, then the anchors, each in its turn, in random order."""
        for entry in anchors:
            if anchor_id(entry) not in self._loaded:
                self._load(anchor_id(entry), [_head(entry)], alone=False)
        self._measure(CHAIN, number, Rule(passes))
        plan = replace(self._all.plan, anchors=tuple(anchors))
        for entry in plan.order(self._all.settings.seed, number * 1000 + self._number):
            self._run(anchor_id(entry), number, "warmup", _ONE_RUN)
            self._measure(anchor_id(entry), number, Rule(runs_per_turn(entry)))

    def _load(self, series: str, methods: Sequence[str], *, alone: bool) -> None:
        loaded = self._bench.load(series, methods)
        self._all.add_loaded(self._number, series, loaded, alone=alone and not self._loaded)
        self._loaded.add(series)

    def _warm_up(self, series: str) -> None:
        settings = self._all.settings
        if settings.warmup_runs or settings.warmup_s:
            rule = Rule(settings.warmup_runs, settings.warmup_s, settings.max_s)
            self._run(series, 0, "warmup", rule)

    def _measure(self, series: str, round_number: int, rule: Rule) -> None:
        self._run(series, round_number, "measure", rule)

    def _run(self, series: str, round_number: int, phase: str, rule: Rule) -> None:
        runs = self._bench.run(series, phase, rule)
        self._all.add_runs(self._number, round_number, series, phase, runs)

    def _encode(self, series: str, methods: Sequence[str]) -> None:
        if methods:
            self._load(series, methods, alone=False)
            self._run(series, 0, "encode", Rule(_ENCODE_RUNS))
            self._bench.unload(series)
            self._loaded.discard(series)


def _head(entry: BundleCut) -> str:
    assert entry.method is not None, "plan_heads takes cuts with heads only"
    return entry.method
