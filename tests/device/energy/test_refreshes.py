"""Polls become refreshes, refreshes become a mean that knows how sure it is."""

from __future__ import annotations

import math
import random

import pytest

from mobilesplit.core.statistics import mean, median
from mobilesplit.device.energy.readings import BatteryReading, RailReading, Window
from mobilesplit.device.energy.refreshes import (
    Refresh,
    Sample,
    counted_power,
    counter_shift_s,
    find_period_s,
    neighbours_correlation,
    of_window,
    quantum,
    refreshes,
    settled,
)


def polled(values: list[int], period_s: float = 1.0, every_s: float = 0.25) -> list[BatteryReading]:
    count = int(len(values) * period_s / every_s)
    return [
        BatteryReading(i * every_s, values[int(i * every_s / period_s)], 4000.0)
        for i in range(count)
    ]


def test_a_value_counts_once_for_each_refresh_however_often_it_is_polled() -> None:
    readings = polled([5, 7, 6, 9])
    assert find_period_s(readings) == 1.0
    assert [r.current_raw for r in refreshes(readings, 1.0)] == [5, 7, 6, 9]


def test_a_value_that_several_refreshes_repeat_counts_for_each() -> None:
    readings = polled([5, 7, 7, 7, 6, 8, 9])
    assert find_period_s(readings) == 1.0
    assert [r.current_raw for r in refreshes(readings, 1.0)] == [5, 7, 7, 7, 6, 8, 9]


def test_a_gauge_that_hardly_changed_has_no_period() -> None:
    assert find_period_s(polled([5, 5, 5, 6])) is None


def test_refreshes_that_may_show_the_phase_before_are_dropped() -> None:
    found = [Refresh(float(i), i, 4000.0) for i in range(10)]
    kept = of_window(found, Window(3.0, 8.0), period_s=1.0)
    assert [refresh.current_raw for refresh in kept] == [5, 6, 7, 8]


def test_a_long_average_is_cut_off_on_the_side_of_the_phase_before_only() -> None:
    ramp = [1.0, 2.0, 3.0, 10.0, 10.2, 9.8, 10.1, 10.0, 9.9, 10.1]
    assert settled(ramp, from_above=False)[0] == 10.0
    assert settled(ramp, from_above=True) == ramp
    # Work that begins with a burst is work, and is kept.
    burst = [30.0, 20.0, *ramp[3:]]
    assert settled(burst, from_above=False) == burst
    assert settled(burst, from_above=True)[0] == 10.0


def test_of_a_phase_half_is_kept_at_least() -> None:
    assert len(settled([float(i) ** 3 for i in range(20)], from_above=False)) >= 10


def test_a_slow_rise_makes_a_baseline_unsure_and_not_the_record_of_what_happened() -> None:
    rng = random.Random(1)
    white = tuple(rng.gauss(0, 1) for _ in range(200))
    risen = tuple(value + i / 20 for i, value in enumerate(white))
    steady, rising = (Sample(values, 0.0, Window(0, 200)) for values in (white, risen))
    assert steady.variance_as_it_was(0.0) == pytest.approx(1 / 200, rel=0.25)
    assert rising.variance_as_it_was(0.0) == pytest.approx(steady.variance_as_it_was(0.0), rel=0.1)
    wander, calm = neighbours_correlation([risen]), neighbours_correlation([white])
    assert wander > 0.8 and calm < 0.2
    assert rising.variance_elsewhen(wander) > 50 * steady.variance_elsewhen(calm)


def autoregressive(correlation: float, count: int, rng: random.Random) -> tuple[float, ...]:
    values = [rng.gauss(0, 1)]
    while len(values) < count:
        fresh = rng.gauss(0, math.sqrt(1 - correlation**2))
        values.append(correlation * values[-1] + fresh)
    return tuple(values)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_a_gauges_correlation_is_found_from_short_phases_and_makes_the_mean_less_sure(
    correlation: float,
) -> None:
    rng = random.Random(2)
    found, stated, squares = [], [], []
    for _ in range(400):
        phases = [autoregressive(correlation, count, rng) for count in (28, 13)]
        found.append(neighbours_correlation(phases))
        load = Sample(autoregressive(correlation, 43, rng), 0.0, Window(0, 43))
        stated.append(load.variance_as_it_was(correlation))
        squares.append(mean(load.values) ** 2)
    assert median(found) == pytest.approx(correlation, abs=0.08)
    assert mean(stated) == pytest.approx(mean(squares), rel=0.25)


def test_a_counter_is_read_by_its_own_clock() -> None:
    # It is brought up to date every 0.4 s only, and started 50 s before the device.
    readings = [
        RailReading(t, 50 + int(t / 0.4) * 0.4, {"CPU": round(int(t / 0.4) * 0.4 * 2e6)})
        for t in (i * 0.25 for i in range(200))
    ]
    assert counter_shift_s(readings) == pytest.approx(-50)
    sample = counted_power(readings, Window(10.0, 30.0), counter_shift_s(readings))
    assert sample is not None and len(sample.values) == 20
    assert sample.covered.length_s == pytest.approx(20, abs=0.8)
    assert sample.mean == pytest.approx(2000) and sample.variance_elsewhen(0.0) < 1e-6


def test_three_readings_of_a_counter_are_too_few() -> None:
    readings = [RailReading(float(t), float(t), {"CPU": t}) for t in range(3)]
    assert counted_power(readings, Window(0.0, 9.0), 0.0) is None


def test_the_step_of_a_gauge_is_the_least_difference() -> None:
    assert quantum([4, 12, 4, 8]) == 4
    assert quantum([4, 4]) == 0
