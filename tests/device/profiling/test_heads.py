"""From passes and anchors to heads: sums, corrections, intervals, and what does not count."""

from __future__ import annotations

import pytest

from mobilesplit.device.profiling.heads import count_runs, has_encoded, heads_of, measured_s
from mobilesplit.device.profiling.journal import (
    Loaded,
    Measured,
    Record,
    ThermalChecked,
)
from mobilesplit.device.profiling.plan import CHAIN, plan_heads
from tests.device.profiling.bundles import chain_of


def runs(
    series: str, *latency_ms: tuple[float, ...], session: int = 0, round_: int = 0
) -> Measured:
    return Measured(
        session=session,
        round=round_,
        series=series,
        phase="measure",
        latency_ms=latency_ms,
        at_ms=tuple(float(n) for n in range(len(latency_ms))),
    )


def rounds(count: int, alone: dict[int, float], stages: tuple[float, ...]) -> list[Record]:
    """Rounds of two passes and each anchor once; each round is a tenth slower than the first."""
    records: list[Record] = []
    for number in range(count):
        slow = 1 + number / 10
        one = tuple(stage * slow for stage in stages)
        records.append(runs(CHAIN, one, one, round_=number))
        for depth, alone_ms in alone.items():
            records.append(runs(f"head.{depth}", (alone_ms * slow,), round_=number))
    return records


def test_a_head_is_the_sum_of_its_stages_times_what_the_anchors_say() -> None:
    plan = plan_heads(chain_of(4))
    assert [e.cut.depth for e in plan.anchors] == [1, 2, 4]
    # Stages of 1, 2, 3, 4 ms. Head 2 alone takes 0.9 of its 3 ms, head 4 alone 0.8 of its 10 ms;
    # head 1 has not run alone yet.
    records = rounds(5, {2: 2.7, 4: 8.0}, (1.0, 2.0, 3.0, 4.0))
    heads = heads_of(plan, records)
    assert list(heads) == ["c1", "c2", "c3", "output"]
    first_pass = {cut: head.samples_ms[0] for cut, head in heads.items()}
    # In front of the first anchor its ratio; between the two, by the time passed (6 of 3 to 10).
    between = 0.9 - 0.1 * (6 - 3) / (10 - 3)
    assert first_pass == pytest.approx(
        {"c1": 1 * 0.9, "c2": 3 * 0.9, "c3": 6 * between, "output": 10 * 0.8}
    )
    assert [len(head.samples_ms) for head in heads.values()] == [10] * 4
    assert heads["c2"].alone_ms == pytest.approx([2.7 * (1 + n / 10) for n in range(5)])


def test_drift_within_the_profile_leaves_the_correction_alone() -> None:
    heads = heads_of(plan_heads(chain_of(4)), rounds(9, {2: 3.0, 4: 9.5}, (1, 2, 3, 4)))
    correction = heads["output"].correction
    assert correction is not None
    assert correction.ratio == pytest.approx(0.95)
    assert correction.half_width == pytest.approx(0.0, abs=1e-9)


def test_a_head_that_was_lowered_by_itself_is_an_anchor_and_corrects_no_other() -> None:
    plan = plan_heads(chain_of(4, fused=(1,)))
    assert [e.cut.depth for e in plan.anchors] == [1, 2, 4]
    heads = heads_of(plan, rounds(4, {1: 0.5, 2: 3.0, 4: 10.0}, (1.0, 2.0, 3.0, 4.0)))
    assert heads["c1"].samples_ms[0] == pytest.approx(0.5)
    assert heads["c2"].samples_ms[0] == pytest.approx(3.0)
    assert heads["c3"].samples_ms[0] == pytest.approx(6.0)


def test_without_anchors_yet_nothing_is_known_of_the_correction() -> None:
    head = heads_of(plan_heads(chain_of(2)), [runs(CHAIN, *[(1.0, 2.0)] * 20)])["output"]
    assert head.samples_ms == [3.0] * 20
    assert head.interval() is None


def test_what_was_measured_before_a_thermal_check_that_failed_does_not_count() -> None:
    def check(*, void: bool) -> ThermalChecked:
        return ThermalChecked(
            session=0, round=0, status=3 if void else 0, celsius=40.0, throttled=void, void=void
        )

    records: list[Record] = [
        runs(CHAIN, (1.0, 1.0)), check(void=False),
        runs(CHAIN, (7.0, 7.0), (7.0, 7.0)), check(void=True),
        runs(CHAIN, (1.0, 1.0)),
    ]  # fmt: skip
    plan = plan_heads(chain_of(2))
    assert heads_of(plan, records)["output"].samples_ms == [2.0, 2.0]
    assert count_runs(records, CHAIN) == 2
    assert measured_s(records, CHAIN) == pytest.approx(0.004)


def test_heads_measured_one_by_one_are_taken_as_they_are() -> None:
    plan = plan_heads(chain_of(3), one_by_one=True)
    records: list[Record] = [
        runs("head.1", (1.0,), (1.2,)), runs("head.2", (2.0,)), runs("head.1", (1.1,), session=1),
    ]  # fmt: skip
    heads = heads_of(plan, records)
    assert heads["c1"].groups == [[1.0, 1.2], [1.1]]
    assert heads["c1"].correction is None
    assert "output" not in heads  # not measured yet


def test_peaks_of_heads_alone_are_measured_and_those_between_are_told_apart() -> None:
    def loaded(series: str, *peaks: int, alone: bool = True) -> Loaded:
        count = len(peaks)
        return Loaded(
            session=0,
            series=series,
            methods=tuple(f"m{n}" for n in range(count)),
            load_ms=(1.0,) * count,
            first_ms=(2.0,) * count,
            peak_rss_bytes=peaks,
            alone=alone,
        )

    records: list[Record] = [
        loaded("head.2", 120), loaded("head.4", 200), loaded(CHAIN, 100, 130, 170, 230),
        runs(CHAIN, (1.0, 1.0, 1.0, 1.0)),
    ]  # fmt: skip
    heads = heads_of(plan_heads(chain_of(4)), records)
    assert [(h.peak_bytes, h.peak_alone) for h in heads.values()] == [
        (90, False), (120, True), (160, False), (200, True),
    ]  # fmt: skip
    assert [h.first_ms for h in heads.values()] == [2.0, 2.0, 6.0, 2.0]
    assert heads["c1"].load_ms is None
    assert heads["output"].load_ms == 1.0


def test_a_peak_beside_other_heads_is_no_heads_own() -> None:
    def loaded(series: str, *peaks: int, alone: bool) -> Loaded:
        zeros = (0.0,) * len(peaks)
        names = tuple(f"m{n}" for n in range(len(peaks)))
        return Loaded(
            session=0, series=series, methods=names, load_ms=zeros, first_ms=zeros,
            peak_rss_bytes=peaks, alone=alone,
        )  # fmt: skip

    records: list[Record] = [
        loaded("head.2", 120, alone=True), loaded(CHAIN, 100, 130, 170, 230, alone=False),
        loaded("head.3", 900, alone=False), runs(CHAIN, (1.0, 1.0, 1.0, 1.0)),
    ]  # fmt: skip
    heads = heads_of(plan_heads(chain_of(4)), records)
    assert [(h.peak_bytes, h.peak_alone) for h in heads.values()] == [
        (90, False), (120, True), (160, False), (220, False),
    ]  # fmt: skip


def test_what_lies_between_anchors_that_differ_is_less_sure() -> None:
    # Anchors 1 and 2 agree, 2 and 4 are a tenth apart: head 3 lies between those.
    heads = heads_of(
        plan_heads(chain_of(4)), rounds(8, {1: 1.0, 2: 3.0, 4: 9.0}, (1.0, 2.0, 3.0, 4.0))
    )
    correction = heads["c3"].correction
    assert correction is not None and correction.half_width is not None
    assert correction.half_width == pytest.approx(0.05)


def test_encoders_that_ran_while_the_device_was_held_back_do_not_count() -> None:
    encoded = Measured(
        session=0, round=0, series="encoded", phase="encode", latency_ms=((1.0,),), at_ms=(0.0,)
    )
    void = ThermalChecked(session=0, round=0, status=3, celsius=None, throttled=True, void=True)
    assert has_encoded([encoded], "encoded")
    assert not has_encoded([encoded, void], "encoded")
