"""Statistics agree with numpy's and with published tables; intervals cover as often as they say."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilesplit.core.statistics import (
    Interval,
    blocks,
    drift,
    median,
    median_interval,
    percentile,
    summarise,
    t_95,
)

samples = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(samples, st.floats(0, 1))
def test_percentile_is_numpys_linear_quantile(values: list[float], fraction: float) -> None:
    assert percentile(values, fraction) == pytest.approx(float(np.quantile(values, fraction)))


def test_no_samples_have_no_median() -> None:
    with pytest.raises(ValueError, match="need samples"):
        median([])


@given(st.lists(st.floats(0.1, 1e4), min_size=2, max_size=60))
def test_a_summary_is_numpys(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.mean == pytest.approx(float(np.mean(values)))
    assert summary.std == pytest.approx(float(np.std(values, ddof=1)), abs=1e-6)
    assert (summary.min, summary.max, summary.n) == (min(values), max(values), len(values))
    slack = 1e-9 * summary.max
    assert summary.min - slack <= summary.trimmed_mean <= summary.max + slack


@pytest.mark.parametrize(
    ("dof", "published"), [(1, 12.706), (2.9, 4.303), (30, 2.042), (40, 2.021), (120, 1.980)]
)
def test_t_is_the_published_one(dof: float, published: float) -> None:
    assert t_95(dof) == pytest.approx(published, abs=0.003)


@given(st.lists(st.integers(), min_size=1, max_size=200))
def test_blocks_hold_every_sample_once_in_order(values: list[int]) -> None:
    parts = blocks(values)
    assert [value for part in parts for value in part] == values
    assert len(parts) <= 10
    assert all(part for part in parts)


def test_the_interval_covers_the_median_about_as_often_as_it_says() -> None:
    rng = random.Random(3)
    covered = 0
    for _ in range(400):
        # A skewed distribution whose median is 12: latencies have a long tail.
        values = [10 + 2 * rng.expovariate(0.6931471805599453) for _ in range(50)]
        interval = median_interval([values])
        assert interval is not None
        covered += interval.low <= 12 <= interval.high
    assert 0.90 * 400 <= covered <= 0.99 * 400


def test_neighbours_that_resemble_each_other_widen_the_interval() -> None:
    rng = random.Random(3)

    def half_width(values: list[float]) -> float:
        interval = median_interval([values])
        assert interval is not None
        return interval.half_width

    in_order = shuffled = 0.0
    for _ in range(30):
        values = [level for _ in range(10) for level in [rng.gauss(10, 1)] * 6]
        in_order += half_width(values)
        shuffled += half_width(rng.sample(values, len(values)))
    assert in_order > 1.5 * shuffled


def test_sessions_that_disagree_widen_the_interval() -> None:
    one, two = [10.0, 10.1, 9.9, 10.0] * 5, [11.0, 11.1, 10.9, 11.0] * 5
    interval = median_interval([one, two])
    assert interval is not None
    assert interval.low < 10 and interval.high > 11


@pytest.mark.parametrize(
    "sizes", [(10, 10, 10, 10, 10), (10, 10, 10, 10, 120), (2, 20, 20, 20, 20), (1, 1, 1, 1, 1)]
)
def test_sessions_of_any_size_are_covered_as_often_as_is_said(sizes: tuple[int, ...]) -> None:
    rng = random.Random(5)
    covered = 0
    for _ in range(400):
        # Sessions differ by 3 %, samples within one by 1 %; the true median is 10.
        groups = []
        for size in sizes:
            level = rng.gauss(10, 0.3)
            groups.append([level + rng.gauss(0, 0.1) for _ in range(size)])
        interval = median_interval(groups)
        assert interval is not None
        covered += interval.low <= 10 <= interval.high
    assert covered >= 0.93 * 400


def test_three_samples_have_no_interval() -> None:
    assert median_interval([[1.0, 2.0, 3.0]]) is None


def test_drift_is_from_the_first_third_to_the_last() -> None:
    assert drift([10.0] * 10 + [15.0] * 10 + [20.0] * 10) == pytest.approx(10 / 15)
    assert drift([1.0, 2.0]) == 0.0


def test_intervals_meet_where_they_share_a_value() -> None:
    assert Interval(1, 2).meets(Interval(2, 3))
    assert not Interval(1, 2).meets(Interval(2.1, 3))
