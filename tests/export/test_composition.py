from __future__ import annotations

from itertools import pairwise

import pytest

from mobilesplit.core.cuts import Cut
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.export.composition import compose


def cuts(*places: tuple[int, int]) -> list[Cut]:
    """Cuts by work in front of them, in FLOP, and elements of their boundary."""
    total = places[-1][0]
    return [
        Cut(
            id=f"cut{depth}",
            depth=depth,
            boundary=(TensorSpec(name="x", dtype="float32", shape=(elements,)),),
            head_flops=flops,
            tail_flops=total - flops,
        )
        for depth, (flops, elements) in enumerate(places)
    ]


def test_where_passing_boundaries_is_cheap_every_head_is_composed() -> None:
    composition = compose(cuts((0, 9), (10**9, 10), (2 * 10**9, 10), (3 * 10**9, 1)), num_groups=1)
    assert composition.fused == ()
    assert composition.groups == ((0, 3),)
    assert composition.base_of(3) == 0


def test_a_head_that_large_boundaries_would_slow_is_fused_and_later_ones_begin_with_it() -> None:
    large = 100_000
    composition = compose(
        cuts((0, 9), (10**8, large), (2 * 10**8, large), (5 * 10**9, 10), (9 * 10**9, 1)),
        num_groups=1,
    )
    assert composition.fused == (2,)
    assert [composition.base_of(cut) for cut in range(5)] == [0, 0, 2, 2, 2]


@pytest.mark.parametrize("num_groups", [1, 2, 3, 9])
def test_groups_follow_each_other_from_the_first_cut_to_the_last(num_groups: int) -> None:
    groups = compose(cuts((0, 1), (10, 1), (20, 1), (30, 1), (40, 1)), num_groups=num_groups).groups
    assert groups[0][0] == 0
    assert groups[-1][1] == 4
    assert all(end == start for (_, end), (start, _) in pairwise(groups))
    assert len(groups) == min(num_groups, 4)
