"""From polls to what a gauge did: its refreshes and, of a counter, its power. Pure.

A gauge holds a value until its next refresh. Counting one value polled ten times as ten would
promise a precision that is not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from mobilesplit.core.statistics import mean, median, std
from mobilesplit.device.energy.readings import BatteryReading, RailReading, Window

_SETTLED_SIGMAS = 3.0
"""Noise rarely goes further; a gauge that still averages what was before does."""
_MAD_TO_STD = 1.4826
"""Of a normal distribution."""
_GUARD_PERIODS = 1.5
"""A refresh shows up to a period that lies before it, and is seen up to a poll after it."""
_MOST_CORRELATION = 0.95
"""More cannot be told from a drift by the few values of a phase."""
_LEAST_OF_BIAS = 0.5
"""Of few values the bias is not known well enough to take out more."""
_MOST_BLOCKS = 20
"""Of a counter: few enough that each holds many inferences."""


class Refresh(NamedTuple):
    """A value that a gauge showed, when it was first seen."""

    time_s: float
    current_raw: int
    voltage_mv: float


class Sample(NamedTuple):
    """Values of one phase, one for each refresh or block, in order."""

    values: tuple[float, ...]
    mean: float
    """Of a counter: its growth over the time, which no block's edge disturbs."""
    covered: Window
    """The time that it is the mean of."""
    is_exact: bool = False
    """Of a counter: it leaves nothing out, so that no block's error is the next one's too."""

    def variance_elsewhen(self, correlation: float) -> float:
        """Of the mean, taken for the level at another time: a baseline that wanders is less sure
        than as many independent values. AR(1) of this ``correlation`` between neighbours."""
        return std(self.values) ** 2 / self.worth(correlation)

    def variance_as_it_was(self, correlation: float) -> float:
        """Of the mean, taken for what happened: a slow rise is seen by every value and is no
        error, so only what differs from neighbour to neighbour counts (von Neumann). Errors of
        this ``correlation`` hide a part of themselves from that; at most all spread is error."""
        squares = [(after - before) ** 2 for before, after in pairwise(self.values)]
        of_one = min(mean(squares) / 2 / (1 - correlation), std(self.values) ** 2)
        return of_one / self.worth(correlation)

    def worth(self, correlation: float) -> float:
        """So many independent values know the mean as well; 1 or more."""
        return max(1.0, len(self.values) * (1 - correlation) / (1 + correlation))


def changes(readings: Sequence[BatteryReading]) -> list[BatteryReading]:
    """The first poll of every value that differs from the one before."""
    kept = list(readings[:1])
    for before, after in pairwise(readings):
        if _shown(after) != _shown(before):
            kept.append(after)
    return kept


def find_period_s(readings: Sequence[BatteryReading]) -> float | None:
    """From one refresh to the next; None from fewer than two changes.

    A value that a refresh repeats makes it longer than it is, and the result more cautious.
    """
    times = [reading.time_s for reading in changes(readings)[1:]]
    gaps = [after - before for before, after in pairwise(times)]
    return median(gaps) if gaps else None


def refreshes(readings: Sequence[BatteryReading], period_s: float) -> list[Refresh]:
    """One for each refresh: a value that was held for several periods counts so often."""
    found: list[Refresh] = []
    starts = changes(readings)
    ends = [reading.time_s for reading in starts[1:]] + [readings[-1].time_s]
    for start, end_s in zip(starts, ends, strict=True):
        count = max(1, round((end_s - start.time_s) / period_s))
        found += [
            Refresh(start.time_s + index * period_s, start.current_raw, start.voltage_mv)
            for index in range(count)
        ]
    return found


def of_window(found: Sequence[Refresh], window: Window, period_s: float) -> list[Refresh]:
    """The refreshes that show nothing but what happened in ``window``."""
    start_s = window.start_s + _GUARD_PERIODS * period_s
    return [refresh for refresh in found if start_s <= refresh.time_s <= window.end_s]


def settled(values: Sequence[float], *, from_above: bool) -> Sequence[float]:
    """Without the first ones, half at most, that a gauge's long average still mixed with the
    phase before: those outside the noise of the second half, on the side of that phase."""
    tail = values[len(values) // 2 :]
    if not tail:
        return values
    middle = median(tail)
    spread = _SETTLED_SIGMAS * _MAD_TO_STD * median([abs(value - middle) for value in tail])
    first = 0
    while spread and first < len(values) - len(tail):
        beyond = values[first] - middle if from_above else middle - values[first]
        if beyond <= spread:
            break
        first += 1
    return values[first:]


def counted_power(readings: Sequence[RailReading], window: Window, shift_s: float) -> Sample | None:
    """Power in mW of a counter by blocks of ``window``; None from fewer than three blocks.

    ``shift_s`` is what the device's clock is ahead of the counter's.
    """
    points: list[tuple[float, float]] = []
    for reading in readings:
        time_s = reading.counted_s + shift_s
        if window.start_s <= time_s <= window.end_s and (not points or time_s > points[-1][0]):
            points.append((time_s, reading.total_mj))
    count = min(_MOST_BLOCKS, len(points) - 1)
    if count < 3:
        return None
    edges = [points[round(index * (len(points) - 1) / count)] for index in range(count + 1)]
    powers = [(e1 - e0) / (t1 - t0) for (t0, e0), (t1, e1) in pairwise(edges)]
    (first_s, first_mj), (last_s, last_mj) = points[0], points[-1]
    grown_mw = (last_mj - first_mj) / (last_s - first_s)
    return Sample(tuple(powers), grown_mw, Window(first_s, last_s), is_exact=True)


def counter_shift_s(readings: Sequence[RailReading]) -> float:
    """What the device's clock is ahead of the counter's, which is the least that was seen."""
    return min(reading.time_s - reading.counted_s for reading in readings)


def quantum(values: Sequence[float]) -> float:
    """The smallest step between two values that differ; 0 where none do."""
    ordered = sorted(set(values))
    return min((after - before for before, after in pairwise(ordered)), default=0.0)


def _shown(reading: BatteryReading) -> tuple[int, float]:
    return reading.current_raw, reading.voltage_mv


def neighbours_correlation(phases: Sequence[Sequence[float]]) -> float:
    """AR(1) correlation, 0 or more, of values within phases of one level each.

    Pooled, for one phase tells little, and without the bias of having estimated the levels from
    the same few values (Marriott and Pope 1954).
    """
    count = sum(map(len, phases))
    total = neighbours = 0.0
    for values in phases:
        middle = mean(values)
        total += math.fsum((value - middle) ** 2 for value in values)
        neighbours += math.fsum((a - middle) * (b - middle) for a, b in pairwise(values))
    if not total:
        return 0.0
    share = len(phases) / count
    unbiased = (neighbours / total + share) / max(_LEAST_OF_BIAS, 1 - 4 * share)
    return min(_MOST_CORRELATION, max(0.0, unbiased))
