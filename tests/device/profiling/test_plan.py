"""Which series measure the heads of a bundle."""

from __future__ import annotations

import itertools

import pytest

from mobilesplit.core.errors import UnknownNameError
from mobilesplit.device.profiling.plan import plan_heads
from tests.device.profiling.bundles import chain_of


def test_one_pass_runs_every_stage_up_to_the_deepest_cut_wanted() -> None:
    plan = plan_heads(chain_of(10), ["c2", "c7"])
    assert plan.stages() == [f"stage_{n}" for n in range(1, 8)]
    assert [entry.cut.id for entry in plan.cuts] == ["c2", "c7"]
    assert plan.anchors[-1].cut.id == "c7"


def test_no_gap_between_the_anchors_is_over_half_of_the_work() -> None:
    for heads in (2, 3, 5, 16, 40):
        shares = [0.0, *(e.cut.device_share for e in plan_heads(chain_of(heads)).anchors)]
        gaps = [b - a for a, b in itertools.pairwise(shares)]
        assert max(gaps) <= 0.55
        assert shares[-1] == 1.0


def test_the_anchors_cost_no_more_than_a_third_of_the_passes() -> None:
    plan = plan_heads(chain_of(16))
    in_models = sum(entry.cut.device_share for entry in plan.anchors)
    assert in_models / plan.passes_per_round(50) < 1 / 3


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
