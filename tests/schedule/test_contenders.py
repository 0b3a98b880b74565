"""Samples go where they can change a plan."""

from __future__ import annotations

from mobilesplit.core.links import Link
from mobilesplit.core.plans import Job
from mobilesplit.core.profiles import SCHEMA, CodecCost, CutProfile, Profile
from mobilesplit.schedule.contenders import contenders

LINK = Link(name="still", uplink_bps=1e9, downlink_bps=1e9, rtt_ms=0.0)


def profile(**cuts: tuple[float, float]) -> Profile:
    """Cuts by name: head and tail in ms, always the same."""
    return Profile(
        schema_=SCHEMA,
        model="m",
        cuts=tuple(
            CutProfile(
                id=name,
                codecs={"raw": CodecCost(bytes=0)},
                head_ms=(head_ms,),
                tail_ms={"1": (tail_ms,)},
            )
            for name, (head_ms, tail_ms) in cuts.items()
        ),
        output_bytes=0,
    )


def job(sla_ms: float, objective: str = "min_cloud") -> Job:
    return Job.model_validate({"sla_ms": sla_ms, "objective": objective})


def test_only_a_head_whose_interval_straddles_the_sla_matters() -> None:
    made = profile(shallow=(10, 50), middle=(60, 30), deep=(97, 10), deepest=(150, 1))
    halves = {"shallow": 1.0, "middle": 1.0, "deep": 20.0, "deepest": 20.0}
    # 60, 90, 107 +- 20 and 151 +- 20 ms against 100: only `deep` could turn the plan.
    assert contenders(made, halves, [(LINK, job(100))]) == {"deep"}


def test_a_dearer_one_need_not_be_known_any_better() -> None:
    made = profile(shallow=(50, 50), deep=(60, 10))
    assert contenders(made, {"shallow": 30.0, "deep": 1.0}, [(LINK, job(100))]) == set()


def test_where_nothing_is_sure_all_that_may_keep_the_sla_matter() -> None:
    made = profile(one=(90, 12), two=(95, 8), three=(300, 1))
    halves = {"one": 5.0, "two": 5.0, "three": 5.0}
    assert contenders(made, halves, [(LINK, job(100))]) == {"one", "two"}


def test_for_latency_those_that_may_be_fastest_matter() -> None:
    made = profile(one=(10, 10), two=(10.5, 10), three=(30, 10))
    halves = {"one": 1.0, "two": 1.0, "three": 1.0}
    assert contenders(made, halves, [(LINK, job(500, "min_latency"))]) == {"one", "two"}


def test_every_scenario_counts() -> None:
    made = profile(one=(90, 10), two=(190, 5))
    halves = {"one": 5.0, "two": 5.0}
    assert contenders(made, halves, [(LINK, job(100)), (LINK, job(195))]) == {"one", "two"}


def test_heads_known_exactly_leave_nothing_open() -> None:
    made = profile(one=(90, 10), two=(190, 5))
    assert contenders(made, {}, [(LINK, job(120)), (LINK, job(120, "min_latency"))]) == set()
