"""The planner: exact against brute force, and honest about what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilesplit.core.errors import UsageError
from mobilesplit.core.links import Link, Radio
from mobilesplit.core.plans import Job
from mobilesplit.core.profiles import Profile
from mobilesplit.schedule.cost import candidates, predict
from mobilesplit.schedule.planner import make_plan

LINK = Link(uplink_bps=8e6, downlink_bps=40e6, rtt_ms=40)


def chain(
    heads_ms: list[float], boundary_bytes: list[int], tails_ms: list[float], **more: Any
) -> Profile:
    """A profile without spread: every term is one number."""
    last = len(heads_ms) - 1
    names = ["input", *(f"block.{index}" for index in range(1, last)), "output"]
    cuts = [
        {"id": name, "codecs": {"raw": {"bytes": nbytes}}, "head_ms": [head],
         "tail_ms": {"1": [tail]}, "head_energy_mj": head}
        for name, head, nbytes, tail in zip(
            names, heads_ms, boundary_bytes, tails_ms, strict=True
        )
    ]  # fmt: skip
    return Profile.model_validate(
        {"schema": "mobilesplit.profile/1", "model": "chain", "cuts": cuts, **more}
    )


PROFILE = chain([0, 50, 120, 400], [600_000, 100_000, 40_000, 4_000], [30, 20, 10, 0])


def test_the_deepest_cut_within_the_sla_costs_the_least_cloud() -> None:
    plan = make_plan(PROFILE, LINK, Job(sla_ms=250))
    assert plan.cut == "block.2"
    assert plan.feasible
    assert plan.predicted.cloud_ms == 10
    # 40 000 bytes and framing at 8 Mbit/s, 40 ms round trip, 4 096 bytes back at 40 Mbit/s.
    expected = 120 + 40.512 + 40 + 10 + (4096 + 512) * 8 / 40e3
    assert plan.predicted.total.p50 == pytest.approx(expected)


def test_a_phone_that_is_quick_enough_needs_no_cloud_and_the_reason_says_so() -> None:
    plan = make_plan(PROFILE, LINK, Job(sla_ms=500))
    assert (plan.cut, plan.codec) == ("output", "none")
    assert plan.predicted.cloud_ms == 0
    assert plan.predicted.uplink_bytes == 0
    assert "Splitting does not pay" in plan.reason


def test_infeasible_is_an_answer_with_the_nearest_miss() -> None:
    plan = make_plan(PROFILE, LINK, Job(sla_ms=20))
    assert not plan.feasible
    fastest = min(
        predict(PROFILE, c, LINK, Job(sla_ms=20)).at_percentile_ms for c in candidates(PROFILE)
    )
    assert plan.predicted.at_percentile_ms == fastest
    assert "No candidate keeps p95 within 20 ms" in plan.reason
    assert "Relax the SLA" in plan.reason


def test_every_candidate_is_the_choice_or_rejected_with_a_cause() -> None:
    plan = make_plan(PROFILE, LINK, Job(sla_ms=250))
    named = {(plan.cut, plan.codec)} | {(item.cut, item.codec) for item in plan.rejected}
    assert named == {(c.cut.id, c.codec) for c in candidates(PROFILE)}
    assert all(item.why for item in plan.rejected)


def test_lossy_codecs_are_chosen_only_when_allowed() -> None:
    document = PROFILE.model_dump(by_alias=True)
    document["cuts"][2]["codecs"] = {"raw": {"bytes": 400_000}, "fp16": {"bytes": 40_000}}
    profile = Profile.model_validate(document)
    strict = make_plan(profile, LINK, Job(sla_ms=250))
    assert strict.codec == "raw"
    assert any(item.codec == "fp16" and "not allowed" in item.why for item in strict.rejected)
    assert make_plan(profile, LINK, Job(sla_ms=250, allow_lossy=True)).codec == "fp16"


def test_a_photo_sent_as_it_is_is_prepared_by_the_cloud() -> None:
    document = PROFILE.model_dump(by_alias=True)
    document["prepare_ms"] = [70.0]
    document["cuts"][0]["codecs"]["original"] = {"bytes": 600_000, "decode_ms": [9.0]}
    profile = Profile.model_validate(document)
    job = Job(sla_ms=250)
    found = {c.codec: predict(profile, c, LINK, job) for c in candidates(profile)[:2]}
    assert found["raw"].terms["prepare"].p50 == 70
    assert found["original"].terms["prepare"].p50 == 0
    assert found["original"].cloud_ms == 39


def test_energy_is_unknown_as_soon_as_a_part_is_and_then_cannot_be_minimised() -> None:
    with pytest.raises(UsageError, match="no energy figures"):
        make_plan(PROFILE, LINK, Job(sla_ms=250, objective="min_energy"))
    radio = Radio(base_mw=1000, uplink_mw_per_mbps=100, downlink_mw_per_mbps=10, source="test")
    known = chain(
        [0, 50, 120, 400], [600_000, 100_000, 40_000, 4_000], [30, 20, 10, 0], prepare_energy_mj=0
    )
    plan = make_plan(
        known, LINK.model_copy(update={"radio": radio}), Job(sla_ms=500, objective="min_energy")
    )
    # 40 000 bytes take 40 ms at 1 800 mW, the answer 0.8 ms at 1 400 mW; the radio waits 50 ms at
    # 1 000 mW for round trip and tail; the head took 120 mJ.
    assert plan.cut == "block.2"
    assert plan.predicted.device_mj == pytest.approx(120 + 72 + 50 + 4096 * 8 / 40e6 * 1400)


times = st.lists(st.floats(0, 500), min_size=1, max_size=4)
profiles = st.lists(
    st.tuples(times, st.integers(0, 1_000_000), times), min_size=2, max_size=6
).map(
    lambda cuts: Profile.model_validate(
        {
            "schema": "mobilesplit.profile/1",
            "model": "any",
            "cuts": [
                {"id": f"cut{index}", "codecs": {"raw": {"bytes": nbytes}}, "head_ms": head,
                 "tail_ms": {"1": tail}}
                for index, (head, nbytes, tail) in enumerate(cuts)
            ],
        }
    )
)  # fmt: skip
links = st.builds(
    Link,
    uplink_bps=st.floats(1e5, 1e9),
    downlink_bps=st.floats(1e5, 1e9),
    rtt_ms=st.floats(0, 300),
    jitter_ms=st.floats(0, 50),
)


@given(profiles, links, st.floats(1, 2000), st.sampled_from(["min_cloud", "min_latency"]))
@settings(max_examples=60, deadline=None)
def test_the_choice_is_the_one_that_brute_force_finds(
    profile: Profile, link: Link, sla_ms: float, objective: Any
) -> None:
    job = Job(sla_ms=sla_ms, objective=objective)
    plan = make_plan(profile, link, job)
    all_of_them = [predict(profile, c, link, job) for c in candidates(profile)]
    keeping = [p for p in all_of_them if p.at_percentile_ms <= sla_ms]
    assert plan.feasible == bool(keeping)
    if not keeping:
        assert plan.predicted.at_percentile_ms == min(p.at_percentile_ms for p in all_of_them)
    elif objective == "min_cloud":
        assert plan.predicted.cloud_ms == min(p.cloud_ms for p in keeping)
    else:
        assert plan.predicted.at_percentile_ms == min(p.at_percentile_ms for p in keeping)


@given(profiles, links, st.floats(1, 2000), st.floats(1, 5))
@settings(max_examples=40, deadline=None)
def test_relaxing_the_sla_or_widening_the_link_never_hurts(
    profile: Profile, link: Link, sla_ms: float, factor: float
) -> None:
    plan = make_plan(profile, link, Job(sla_ms=sla_ms))
    relaxed = make_plan(profile, link, Job(sla_ms=sla_ms * factor))
    assert relaxed.feasible or not plan.feasible
    wider = link.model_copy(
        update={
            "uplink_bps": link.uplink_bps * factor,
            "downlink_bps": link.downlink_bps * factor,
        }
    )
    fastest = Job(sla_ms=1e9, objective="min_latency")
    assert (
        make_plan(profile, wider, fastest).predicted.at_percentile_ms
        <= make_plan(profile, link, fastest).predicted.at_percentile_ms + 1e-6
    )


def test_the_same_inputs_give_the_same_plan() -> None:
    job = Job(sla_ms=250)
    assert make_plan(PROFILE, LINK, job) == make_plan(PROFILE, LINK, job)
