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


def measure_with_executor_runner(
    subject: Subject, journal: Journal, *, progress: Callable[[str], None] = lambda _: None
) -> None:
    """Measure what the journal lacks: ``min_runs`` of every head, in ``sessions`` processes each.

    Raises:
        RunnerError: executor_runner failed on a head.
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
            measured = measure_with_stock_runner(
                subject.device,
                subject.pushed.runner,
                subject.pushed.program,
                method,
                subject.inputs,
                warmup_runs=settings.warmup_runs,
                runs=min(share, missing),
                threads=settings.threads,
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
