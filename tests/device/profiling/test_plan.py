"""Which series measure the heads of a bundle."""

from __future__ import annotations

import pytest

from mobilesplit.core.errors import UnknownNameError
from mobilesplit.device.profiling.plan import plan_heads, runs_per_turn
from tests.device.profiling.bundles import chain_of


def test_one_pass_runs_every_stage_up_to_the_deepest_cut_wanted() -> None:
    plan = plan_heads(chain_of(10), ["c2", "c7"])
    assert plan.stages() == [f"stage_{n}" for n in range(1, 8)]
    assert [entry.cut.id for entry in plan.cuts] == ["c2", "c7"]
    assert plan.anchors[-1].cut.id == "c7"


def test_every_head_has_an_anchor_of_at_most_three_times_its_work() -> None:
    for heads in (2, 3, 5, 16, 40):
        plan = plan_heads(chain_of(heads))
        shares = [e.cut.device_share for e in plan.anchors]
        assert shares[-1] == 1.0
        for entry in plan.cuts:
            assert min(s for s in shares if s >= entry.cut.device_share) <= (
                3 * entry.cut.device_share
            )


def test_the_anchors_cost_no_more_than_half_of_the_passes() -> None:
    for heads in (5, 16, 40):
        plan = plan_heads(chain_of(heads))
        in_models = sum((1 + runs_per_turn(e)) * e.cut.device_share for e in plan.anchors)
        assert in_models / plan.passes_per_round(100, 5) < 1 / 2


@pytest.mark.parametrize("sessions", [1, 2, 3, 5])
@pytest.mark.parametrize("runs", [1, 5, 8, 20, 50, 100, 300])
def test_whole_rounds_come_to_the_samples_wanted_or_hardly_more(runs: int, sessions: int) -> None:
    passes = plan_heads(chain_of(4)).passes_per_round(runs, sessions)
    share = -(-runs // sessions)
    rounds = -(-share // passes)
    assert runs <= rounds * passes * sessions <= 1.25 * runs + 2 * sessions
    assert rounds * sessions >= min(4, runs // 4)


@pytest.mark.parametrize(
    ("manifest", "cuts", "one_by_one"),
    [
        (chain_of(4), None, True),
        (chain_of(4), ["c2"], False),
        (chain_of(4, stages=False), None, False),
    ],
    ids=["asked for", "one cut", "no stages"],
)
def test_heads_are_measured_alone_where_a_pass_would_not_do(
    manifest: object, cuts: list[str] | None, one_by_one: bool
) -> None:
    plan = plan_heads(manifest, cuts, one_by_one=one_by_one)  # type: ignore[arg-type]
    assert plan.chain == ()
    assert plan.anchors == plan.cuts


def test_an_unknown_cut_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Known: c1, c2, output"):
        plan_heads(chain_of(3), ["c9"])


def test_every_round_has_an_order_of_its_own_and_a_seed_always_the_same() -> None:
    plan = plan_heads(chain_of(12), one_by_one=True)
    orders = [[e.cut.id for e in plan.order(7, number)] for number in range(5)]
    assert len({tuple(order) for order in orders}) == 5
    assert orders == [[e.cut.id for e in plan.order(7, number)] for number in range(5)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
