"""Statistics of raw samples. Samples are kept; these are derived when shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL_95 = 1.960

MAX_BLOCKS = 10
"""Blocks of a run: few enough that each holds drift, enough that their spread is known."""
_TRIMMED = 0.1


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of its length."""
        return (self.high - self.low) / 2

    def meets(self, other: Interval) -> bool:
        """Whether the two have a value in common."""
        return self.low <= other.high and other.low <= self.high


class Summary(NamedTuple):
    """What people read of a list of samples; in the samples' unit, but ``cv``."""

    n: int
    median: float
    p90: float
    p95: float
    p99: float
    mean: float
    std: float
    """With n - 1; 0 for one sample."""
    cv: float
    """``std / mean``; 0 where the mean is 0."""
    min: float
    max: float
    trimmed_mean: float
    """Without the lowest and the highest tenth."""


def percentile(samples: Sequence[float], fraction: float) -> float:
    """The ``fraction`` (0 to 1) quantile by linear interpolation between order statistics.

    Raises:
        ValueError: for no samples or a fraction outside 0..1.
    """
    if not samples or not 0 <= fraction <= 1:
        raise ValueError(f"need samples and a fraction in 0..1, got {len(samples)}, {fraction}")
    ordered = sorted(samples)
    position = (len(ordered) - 1) * fraction
    low = math.floor(position)
    high = math.ceil(position)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median(samples: Sequence[float]) -> float:
    """The middle sample. Raises ValueError for no samples."""
    return percentile(samples, 0.5)


def mean(samples: Sequence[float]) -> float:
    """The arithmetic mean. Raises ValueError for no samples."""
    if not samples:
        raise ValueError("need samples")
    return math.fsum(samples) / len(samples)


def std(samples: Sequence[float]) -> float:
    """Standard deviation with n - 1; 0 for fewer than two samples."""
    if len(samples) < 2:
        return 0.0
    middle = mean(samples)
    return math.sqrt(math.fsum((x - middle) ** 2 for x in samples) / (len(samples) - 1))


def summarise(samples: Sequence[float]) -> Summary:
    """Everything of `Summary`. Raises ValueError for no samples."""
    ordered = sorted(samples)
    middle, spread = mean(ordered), std(ordered)
    cut = int(len(ordered) * _TRIMMED)
    return Summary(
        n=len(ordered),
        median=median(ordered),
        p90=percentile(ordered, 0.90),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
        mean=middle,
        std=spread,
        cv=spread / middle if middle else 0.0,
        min=ordered[0],
        max=ordered[-1],
        trimmed_mean=mean(ordered[cut : len(ordered) - cut]),
    )


def t_95(degrees_of_freedom: float) -> float:
    """Student's t for a two-sided 95 % interval; fractions (Welch's) are rounded down, to be safe.

    Raises:
        ValueError: below one degree of freedom.
    """
    whole = math.floor(degrees_of_freedom)
    if whole < 1:
        raise ValueError(f"need a degree of freedom, got {degrees_of_freedom}")
    # Above the table 1.96 + 2.4/n is within 0.003 of the exact value.
    return _T_95[whole - 1] if whole <= len(_T_95) else _NORMAL_95 + 2.4 / whole


def blocks(samples: Sequence[float], most: int = MAX_BLOCKS) -> list[Sequence[float]]:
    """The samples, in order, in at most ``most`` runs of (nearly) equal length, of two or more
    samples each where there are four or more."""
    count = max(1, min(most, len(samples) // 2))
    edges = [round(i * len(samples) / count) for i in range(count + 1)]
    return [samples[a:b] for a, b in pairwise(edges)]


def median_interval(groups: Sequence[Sequence[float]]) -> Interval | None:
    """95 % interval of the median of samples taken in order, in one or more sessions (``groups``).

    By batch means (the spread between the medians of consecutive blocks), because neighbours in
    time resemble each other, which an interval from single samples would not know. Of two or
    more sessions it also holds the interval that their own medians give, each with the same
    weight: what differs from session to session no number of samples of one makes up for. None
    where there are fewer than four samples.
    """
    kept = [group for group in groups if group]
    samples = [sample for group in kept for sample in group]
    if len(samples) < 4:
        return None
    intervals = [_around(median(samples), [median(block) for block in blocks(samples)])]
    if len(kept) > 1:
        of_sessions = [median(group) for group in kept]
        intervals.append(_around(mean(of_sessions), of_sessions))
    return Interval(min(i.low for i in intervals), max(i.high for i in intervals))


def _around(middle: float, values: Sequence[float]) -> Interval:
    half = t_95(len(values) - 1) * std(values) / math.sqrt(len(values))
    return Interval(middle - half, middle + half)


def drift(samples: Sequence[float]) -> float:
    """How far the last third lies from the first: medians' difference as a share of the median.

    0 for fewer than six samples or a median of 0.
    """
    third = len(samples) // 3
    middle = median(samples) if samples else 0.0
    if third < 2 or not middle:
        return 0.0
    return (median(samples[-third:]) - median(samples[:third])) / middle
