"""Whether a head's samples are to be trusted. Pure: samples in, verdict out.

The thresholds say when a figure no longer means what it seems to; how good a figure is, its
interval says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mobilesplit.core.profiles import ProfileVerdict, Verdict, VerdictWord
from mobilesplit.core.statistics import Interval, drift, summarise
from mobilesplit.device.profiling.heads import Head
from mobilesplit.device.profiling.journal import Record, ThermalChecked

LEAST_SAMPLES = 10
"""Below this the spread of a head is anybody's guess."""
MOST_RELATIVE_HALF_WIDTH = 0.05
"""MLPerf's rules want results that replicate within 5 %."""
MOST_CV = 0.25
"""A single sample then often lies half as far from the median as from zero."""
MOST_DRIFT = 0.10
"""Between the first and the last third: the device was not the same at both ends."""


def judge_head(head: Head, *, throttled: bool = False) -> Verdict:
    """The verdict on one head; ``throttled`` says that Android held the device back."""
    return judge(head.samples_ms, head.interval(), throttled=throttled)


def judge(
    samples_ms: Sequence[float], interval: Interval | None, *, throttled: bool = False
) -> Verdict:
    """The verdict on samples in the order taken, and the interval of their median.

    Raises:
        ValueError: for no samples.
    """
    summary, drifted = summarise(samples_ms), drift(samples_ms)
    word, why = _first_reason(summary.n, summary.median, summary.cv, drifted, interval, throttled)
    return Verdict(
        verdict=word,
        why=why,
        samples=summary.n,
        interval_ms=None if interval is None else (max(0.0, interval.low), interval.high),
        cv=summary.cv,
        drift=drifted,
    )


def judge_profile(heads: Mapping[str, Verdict], remarks: Sequence[str] = ()) -> ProfileVerdict:
    """The verdict on all heads together, from each one's."""
    doubted: dict[VerdictWord, list[str]] = {}
    for cut, verdict in heads.items():
        if verdict.verdict != "ok":
            doubted.setdefault(verdict.verdict, []).append(cut)
    if not doubted:
        return ProfileVerdict(verdict="ok", remarks=tuple(remarks))
    word = max(doubted, key=lambda word: len(doubted[word]))
    count = sum(map(len, doubted.values()))
    why = f"{count} of {len(heads)} heads should not be trusted; of {doubted[word][-1]}: "
    return ProfileVerdict(
        verdict=word, why=why + heads[doubted[word][-1]].why, remarks=tuple(remarks)
    )


def was_throttled(records: Iterable[Record]) -> bool:
    """Whether samples that count were taken while Android held the device back."""
    return any(isinstance(r, ThermalChecked) and r.throttled and not r.void for r in records)


def _first_reason(
    count: int,
    middle_ms: float,
    cv: float,
    drifted: float,
    interval: Interval | None,
    throttled: bool,
) -> tuple[VerdictWord, str]:
    if throttled:
        return "throttled", "Android held the device back, pauses to cool down did not help"
    if count < LEAST_SAMPLES or interval is None:
        return "too_few_samples", f"{count} samples; {LEAST_SAMPLES} are the least"
    if cv > MOST_CV:
        return "noisy", f"the standard deviation is {cv:.1%} of the mean, over {MOST_CV:.0%}"
    if abs(drifted) > MOST_DRIFT:
        return "drifting", f"the last third is {drifted:+.1%} from the first, over {MOST_DRIFT:.0%}"
    relative = interval.half_width / middle_ms if middle_ms else 0.0
    if relative > MOST_RELATIVE_HALF_WIDTH:
        return "imprecise", (
            f"the median is known to within {relative:.1%} only, not {MOST_RELATIVE_HALF_WIDTH:.0%}"
        )
    return "ok", ""
