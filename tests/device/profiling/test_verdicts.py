"""Each reason not to trust a head has its word."""

from __future__ import annotations

import random

import pytest

from mobilesplit.core.statistics import median_interval
from mobilesplit.device.profiling.journal import Record, ThermalChecked
from mobilesplit.device.profiling.verdicts import judge, judge_profile, was_throttled


def noisy(spread: float, count: int = 60) -> list[float]:
    rng = random.Random(1)
    return [10 * (1 + rng.gauss(0, spread)) for _ in range(count)]


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        (noisy(0.02), "ok"),
        (noisy(0.02, 9), "too_few_samples"),
        ([10.0, 10.1, 9.9], "too_few_samples"),
        (noisy(0.4), "noisy"),
        ([10.0 + 0.05 * n for n in range(60)], "drifting"),
        (noisy(0.15, 12), "imprecise"),
    ],
)
def test_the_verdict_names_the_reason(samples: list[float], word: str) -> None:
    verdict = judge(samples, median_interval([samples]))
    assert verdict.verdict == word
    assert (verdict.why == "") == (word == "ok")
    assert verdict.samples == len(samples)


def test_a_device_that_was_held_back_is_told_first() -> None:
    assert judge(noisy(0.4), None, throttled=True).verdict == "throttled"


def test_only_what_counts_makes_a_profile_throttled() -> None:
    def check(*, throttled: bool, void: bool) -> list[Record]:
        return [
            ThermalChecked(
                session=0, round=0, status=2, celsius=None, throttled=throttled, void=void
            )
        ]

    assert was_throttled(check(throttled=True, void=False))
    assert not was_throttled(check(throttled=True, void=True))
    assert not was_throttled(check(throttled=False, void=False))


def test_a_profile_is_ok_if_every_head_is_and_else_says_what_most_suffer_from() -> None:
    good = judge(noisy(0.02), median_interval([noisy(0.02)]))
    few = judge([1.0, 1.0], None)
    loud = judge(noisy(0.4), median_interval([noisy(0.4)]))
    assert judge_profile({"a": good, "b": good}, ["warm"]).verdict == "ok"
    assert judge_profile({"a": good}, ["warm"]).remarks == ("warm",)
    judged = judge_profile({"a": good, "b": few, "c": loud, "d": few})
    assert judged.verdict == "too_few_samples"
    assert judged.why == "3 of 4 heads should not be trusted; of d: 2 samples; 10 are the least"
