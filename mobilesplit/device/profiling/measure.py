"""Runs a plan on one device, session by session, into the journal.

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
from mobilesplit.device.bench import DirectedBench, Rule
from mobilesplit.device.device import Device
from mobilesplit.device.profiling.heads import (
    Head,
    count_runs,
    has_encoded,
    heads_of,
    lacks_own_peak,
    measured_s,
)
from mobilesplit.device.profiling.journal import Journal, Loaded, Measured, SessionStarted
from mobilesplit.device.profiling.plan import (
    CHAIN,
    ENCODED,
    HeadPlan,
    anchor_id,
    runs_per_turn,
    with_encoders,
)
from mobilesplit.device.profiling.settings import ProfileSettings
from mobilesplit.device.profiling.throttling import ThermalWatch
from mobilesplit.device.push import Pushed

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
    sleep: Callable[[float], None] = time.sleep
    """How to wait: whoever may have to end it raises from there."""


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
        deadline_s: by ``time.monotonic``; behind it only heads without any sample are measured.
        depends_on: with it, once every head has its fewest samples, only those that it names
            are measured on until their intervals are tight.

    Raises:
        RunnerError: the runner failed on a head.
        DeviceGoneError: the connection was lost; the journal can be resumed.
    """
    state = _State(subject, journal, deadline_s, depends_on)
    watch = ThermalWatch(subject.device, journal, subject.settings, progress, sleep=subject.sleep)
    while state.lacking():
        number = journal.next_session
        with DirectedBench(
            subject.device,
            subject.pushed,
            inputs=subject.inputs,
            threads=subject.settings.threads,
            core_mask=subject.settings.core_mask,
        ) as bench:
            journal.add(
                SessionStarted(session=number, started=bench.started, load_ms=bench.load_ms)
            )
            session = _Session(state, watch, bench, number, progress)
            session.one_pass() if subject.plan.chain else session.one_by_one()


class _State:
    """What the journal says is there, and what is wanted."""

    def __init__(
        self,
        subject: Subject,
        journal: Journal,
        deadline_s: float,
        depends_on: DependsOn | None,
    ) -> None:
        self.plan = subject.plan
        self.settings = subject.settings
        self.journal = journal
        self._deadline_s = deadline_s
        self._depends_on = depends_on

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._deadline_s

    def lacking(self) -> list[BundleCut]:
        """Heads that need more samples; with a chain, any of them needs a pass of all."""
        least = self.short_of_least()
        if self.is_over:
            return [entry for entry in least if not self._runs(entry)]
        return least or self.wanted()

    def short_of_least(self) -> list[BundleCut]:
        """Heads that do not have their fewest samples or seconds yet."""
        return [entry for entry in self.plan.cuts if not self._has_least(entry)]

    def wanted(self) -> list[BundleCut]:
        """Heads whose interval is wider than asked for: of those that a plan could turn on, where
        somebody knows those; of all others."""
        heads = self.heads()
        named = self._depends_on(heads) if self._depends_on is not None else heads
        return [
            entry
            for entry in self.plan.cuts
            if entry.cut.id in named
            and not self._is_exhausted(entry)
            and not self._is_tight(heads[entry.cut.id])
        ]

    def doubtful(self) -> list[BundleCut]:
        """Of those wanted, once the fewest samples are there, the ones that are no anchors: what is
        not sure about them is mostly their correction, so they are measured alone as well."""
        if self.short_of_least():
            return []
        anchors = {entry.cut.id for entry in self.plan.anchors}
        return [entry for entry in self.wanted() if entry.cut.id not in anchors]

    def heads(self) -> dict[str, Head]:
        """As far as they are measured."""
        return heads_of(self.plan, self.journal.records)

    def _series(self, entry: BundleCut) -> str:
        """Whose samples are the head's."""
        return CHAIN if self.plan.chain else anchor_id(entry)

    def _runs(self, entry: BundleCut) -> int:
        return count_runs(self.journal.records, self._series(entry))

    def _has_least(self, entry: BundleCut) -> bool:
        """Whether a head has its fewest samples and seconds, or its most of either."""
        spent_s = measured_s(self.journal.records, self._series(entry))
        enough = self._runs(entry) >= self.settings.min_runs and spent_s >= self.settings.min_s
        return enough or self._is_exhausted(entry)

    def _is_exhausted(self, entry: BundleCut) -> bool:
        spent_s = measured_s(self.journal.records, self._series(entry))
        return self._runs(entry) >= self.settings.max_runs or spent_s >= self.settings.max_s

    def _is_tight(self, head: Head) -> bool:
        interval = head.interval()
        return interval is not None and interval.half_width <= self.settings.precision * median(
            head.samples_ms
        )


class _Session:
    """One runner process. All sessions take the same share of the samples, so that what differs
    from process to process has the same weight in each."""

    def __init__(
        self,
        state: _State,
        watch: ThermalWatch,
        bench: DirectedBench,
        number: int,
        progress: Callable[[str], None],
    ) -> None:
        self._state = state
        self._settings = state.settings
        self._watch = watch
        self._bench = bench
        self._number = number
        self._progress = progress
        self._loaded: set[str] = set()

    def one_pass(self) -> None:
        """Rounds of passes over the stages and turns of the anchors."""
        state, plan = self._state, self._state.plan
        for entry in plan.order(self._settings.seed, -1):
            if lacks_own_peak(state.journal.records, entry):
                # Alone, for its own peak memory; later all together, for rounds without loading.
                self._load(anchor_id(entry), [_head(entry)], alone=True)
                self._unload(anchor_id(entry))
        self._load(CHAIN, plan.stages(), alone=False)
        self._warm_up(CHAIN)
        if plan.encoded_stages() and not has_encoded(state.journal.records, ENCODED):
            self._encode(ENCODED, plan.encoded_stages())
        anchors = [*plan.anchors, *state.doubtful()]
        # Beyond the fewest samples it is the corrections that are not sure enough: longer turns.
        longer = self._share if not state.short_of_least() else 0
        passes = plan.passes_per_round(self._settings.min_runs, self._settings.sessions)
        round_number = 0
        while round_number == 0 or (not self._has_share(CHAIN) and not state.is_over):
            self._round(round_number, passes, anchors, longer)
            self._report(f"{count_runs(state.journal.records, CHAIN)} passes over every cut")
            if self._watch.check(self._number, round_number):
                self._warm_up(CHAIN)
            round_number += 1
        self._watch.check(self._number, round_number, now=True)

    def one_by_one(self) -> None:
        """Every head that needs it, alone, in random order."""
        state, plan = self._state, self._state.plan
        lacking = {entry.cut.id for entry in state.lacking()}
        order = [e for e in plan.order(self._settings.seed, self._number) if e.cut.id in lacking]
        for place, entry in enumerate(order):
            series = anchor_id(entry)
            if state.is_over and count_runs(state.journal.records, series):
                continue
            self._load(series, [_head(entry)], alone=True)
            self._warm_up(series)
            while True:
                rule = Rule(self._share, max_s=self._settings.max_s / self._settings.sessions)
                self._run(series, place, "measure", rule)
                self._report(f"{entry.cut.id}, head {place + 1} of {len(order)}")
                if self._watch.check(self._number, place):
                    self._warm_up(series)
                if self._has_share(series) or state.is_over:
                    break
            encoded = f"{series}.{ENCODED}"
            if entry.encoders and not has_encoded(state.journal.records, encoded):
                self._encode(encoded, [with_encoders(_head(entry), entry)])
            self._unload(series)
        self._watch.check(self._number, len(order), now=True)

    @property
    def _share(self) -> int:
        """A session's part of the fewest samples."""
        return math.ceil(self._settings.min_runs / self._settings.sessions)

    def _has_share(self, series: str) -> bool:
        """Whether this session has its part of the series' samples and seconds."""
        settings, records = self._settings, self._state.journal.records
        runs = count_runs(records, series, session=self._number)
        spent_s = measured_s(records, series, session=self._number)
        enough = runs * settings.sessions >= settings.min_runs
        enough = enough and spent_s * settings.sessions >= settings.min_s
        exhausted = runs * settings.sessions >= settings.max_runs
        return enough or exhausted or spent_s * settings.sessions >= settings.max_s

    def _round(
        self, number: int, passes: int, anchors: Sequence[BundleCut], least_turn: int
    ) -> None:
        """Some passes, then the anchors, each in its turn, in random order."""
        for entry in anchors:
            if anchor_id(entry) not in self._loaded:
                self._load(anchor_id(entry), [_head(entry)], alone=False)
        self._run(CHAIN, number, "measure", Rule(passes))
        plan = replace(self._state.plan, anchors=tuple(anchors))
        for entry in plan.order(self._settings.seed, number * 1000 + self._number):
            self._run(anchor_id(entry), number, "warmup", _ONE_RUN)
            turn = Rule(max(runs_per_turn(entry), least_turn))
            self._run(anchor_id(entry), number, "measure", turn)

    def _load(self, series: str, methods: Sequence[str], *, alone: bool) -> None:
        loaded = self._bench.load(series, methods)
        self._loaded.add(series)
        self._state.journal.add(
            Loaded(
                session=self._number,
                series=series,
                methods=tuple(part.method for part in loaded.parts),
                load_ms=tuple(part.load_ms for part in loaded.parts),
                first_ms=tuple(part.first_ms for part in loaded.parts),
                peak_rss_bytes=tuple(part.peak_rss_bytes for part in loaded.parts),
                alone=alone and loaded.peak_is_its_own,
            )
        )

    def _unload(self, series: str) -> None:
        self._bench.unload(series)
        self._loaded.discard(series)

    def _warm_up(self, series: str) -> None:
        settings = self._settings
        if settings.warmup_runs or settings.warmup_s:
            rule = Rule(settings.warmup_runs, settings.warmup_s, settings.max_s)
            self._run(series, 0, "warmup", rule)

    def _encode(self, series: str, methods: Sequence[str]) -> None:
        self._load(series, methods, alone=False)
        self._run(series, 0, "encode", Rule(_ENCODE_RUNS))
        self._unload(series)

    def _run(self, series: str, round_number: int, phase: str, rule: Rule) -> None:
        runs = self._bench.run(series, phase, rule)
        self._state.journal.add(
            Measured.model_validate(
                {
                    "session": self._number,
                    "round": round_number,
                    "series": series,
                    "phase": phase,
                    "latency_ms": runs.latency_ms,
                    "encode_ms": runs.encode_ms,
                    "at_ms": runs.at_ms,
                }
            )
        )

    def _report(self, what: str) -> None:
        """Progress in a line: how far, and what the deepest head takes."""
        deepest = self._state.heads().get(self._state.plan.cuts[-1].cut.id)
        shown = "" if deepest is None else f", {deepest.cut} {median(deepest.samples_ms):.1f} ms"
        self._progress(f"session {self._number + 1}: {what}{shown}")


def _head(entry: BundleCut) -> str:
    assert entry.method is not None, "plan_heads takes cuts with heads only"
    return entry.method
