"""Profiling with ExecuTorch's executor_runner: head after head, into the same journal.

It knows no series, no session and no encoders, so heads are measured one by one, each session in
a random order of its own, and codecs are timed on this computer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from mobilesplit.device.profiling.heads import count_runs
from mobilesplit.device.profiling.journal import Journal, Loaded, Measured, SessionStarted
from mobilesplit.device.profiling.measure import Subject
from mobilesplit.device.profiling.plan import anchor_id
from mobilesplit.device.profiling.throttling import ThermalWatch
from mobilesplit.device.stock_runner import measure_with_stock_runner

MOST_RUNS = 100
"""Of one process: what a lost connection costs, for it tells its times to a journal at its end."""
UNKNOWN_RUNS = 10
"""Of the first process of a head: nobody knows yet how long one that hangs is to be waited for."""
UNKNOWN_RUN_S = 60.0
"""What one run of a head may take that has never run: portable kernels take tens of seconds."""
SLOWEST = 20.0
"""What one run may take, as a multiple of the head's slowest first one: a phone may throttle."""
LEAST_RUN_S = 0.1
"""What every run may take: the system's own pauses do not shrink with the head."""


def measure_with_executor_runner(
    subject: Subject, journal: Journal, *, progress: Callable[[str], None] = lambda _: None
) -> None:
    """Measure what the journal lacks: ``min_runs`` of every head, in ``sessions`` processes each,
    or in more where one would have to run too long.

    Raises:
        RunnerError: executor_runner failed on a head.
        DeviceTimeoutError: it hangs.
        DeviceGoneError: the connection was lost; the journal can be resumed.
    """
    plan, settings = subject.plan, subject.settings
    watch = ThermalWatch(subject.device, journal, settings, progress)
    # A virtual phone's own runner slows itself down; this one knows nothing of that.
    slowdown = journal.header.device.inference_slowdown
    assert not plan.chain, "executor_runner runs heads one by one"
    share = math.ceil(settings.min_runs / settings.sessions)
    while any(count_runs(journal.records, anchor_id(e)) < settings.min_runs for e in plan.cuts):
        session = journal.next_session
        started = {"runner": "executor_runner", "threads": settings.threads}
        journal.add(SessionStarted(session=session, started=started, load_ms=0.0))
        for place, entry in enumerate(plan.order(settings.seed, session)):
            series, method = anchor_id(entry), entry.method
            assert method is not None, "plan_heads takes cuts with heads only"
            missing = settings.min_runs - count_runs(journal.records, series)
            if missing <= 0:
                continue
            progress(f"session {session + 1}: {entry.cut.id}, {place + 1} of {len(plan.cuts)}")
            first_s = _slowest_first_s(journal, series)
            measured = measure_with_stock_runner(
                subject.device,
                subject.pushed.runner,
                subject.pushed.program,
                method,
                subject.inputs,
                warmup_runs=settings.warmup_runs,
                runs=min(share, missing, UNKNOWN_RUNS if first_s is None else MOST_RUNS),
                threads=settings.threads,
                slowest_run_s=UNKNOWN_RUN_S
                if first_s is None
                else max(SLOWEST * first_s, LEAST_RUN_S),
            )
            journal.add(
                Loaded(
                    session=session,
                    series=series,
                    methods=(method,),
                    load_ms=(measured.load_ms,),
                    first_ms=(measured.first_ms * slowdown,),
                    alone=True,
                )
            )
            journal.add(
                Measured(
                    session=session,
                    round=place,
                    series=series,
                    phase="measure",
                    latency_ms=tuple((ms * slowdown,) for ms in measured.latency_ms),
                    at_ms=(),
                )
            )
            watch.check(session, place)
        watch.check(session, len(plan.cuts), now=True)


def _slowest_first_s(journal: Journal, series: str) -> float | None:
    """The slowest first inference of a head in any process so far; None if it never ran."""
    loads = [r for r in journal.records if isinstance(r, Loaded) and r.series == series]
    return max((sum(load.first_ms) / 1e3 for load in loads), default=None)
