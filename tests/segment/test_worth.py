from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilesplit.segment import worth
from mobilesplit.segment.worth import most_valuable

MODELS = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(1, 10**7)), min_size=3, max_size=12
).map(lambda cuts: (np.cumsum([0, *(work + 1 for work, _ in cuts)]), [4, *(n for _, n in cuts)]))


def area(work: list[int], nbytes: list[int], kept: list[int]) -> float:
    """The modelled cost of a set of cuts, straight from its definition: the staircase's area.

    Every scenario is integrated between the least and the largest latency of all cuts.
    """
    latencies = worth._latencies(np.asarray(work, float), np.asarray(nbytes, float))
    shares = 1 - np.asarray(work) / work[-1]
    slas = np.sort(latencies, axis=1)
    keeps = latencies[:, kept, None] <= slas[:, None, :-1]
    least = np.where(keeps, shares[kept][None, :, None], 2.0).min(axis=1)
    return float((least * np.diff(np.log(slas), axis=1)).sum())


@settings(max_examples=40, deadline=None)
@given(MODELS)
def test_the_cut_that_goes_first_is_the_one_whose_loss_costs_least(
    model: tuple[list[int], list[int]],
) -> None:
    work, nbytes = model
    every = list(range(len(work)))
    kept = most_valuable(work, nbytes, len(work) - 1)
    costs = [area(work, nbytes, [other for other in every if other != cut]) for cut in every[1:-1]]
    assert area(work, nbytes, kept) == pytest.approx(min(costs), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(MODELS, st.integers(2, 6))
def test_both_ends_stay_and_no_more_are_kept_than_asked_for(
    model: tuple[list[int], list[int]], max_cuts: int
) -> None:
    work, nbytes = model
    kept = most_valuable(work, nbytes, max_cuts)
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, len(work) - 1)
    assert len(kept) == min(max_cuts, len(work))


def test_a_cut_that_no_link_and_no_sla_would_choose_goes_before_any_other() -> None:
    # The third sends more than the one behind it, which works less in the cloud too.
    work = [0, 10**9, 2 * 10**9, 2 * 10**9 + 1, 4 * 10**9]
    nbytes = [600_000, 300_000, 10**8, 100_000, 4_000]
    assert most_valuable(work, nbytes, 4) == [0, 1, 3, 4]


def test_of_two_neighbours_the_one_that_is_hardly_better_goes() -> None:
    work = [0, 10**9, 10**9 + 10**6, 3 * 10**9, 4 * 10**9]
    nbytes = [600_000, 50_000, 49_999, 20_000, 4_000]
    kept = most_valuable(work, nbytes, 4)
    assert 3 in kept
    assert len({1, 2} & set(kept)) == 1


def test_of_two_equal_cuts_one_stays_where_their_place_is_worth_having() -> None:
    work = [0, 10**9, 3 * 10**9, 4 * 10**9]
    nbytes = [600_000, 20_000, 400_000, 4_000]
    assert most_valuable(work, nbytes, 3) == [0, 1, 3]
    assert most_valuable([0, 10**9, *work[1:]], [600_000, 20_000, *nbytes[1:]], 3) in (
        [0, 1, 4],
        [0, 2, 4],
    )


@settings(max_examples=25, deadline=None)
@given(MODELS, st.data())
def test_a_cut_that_is_there_twice_costs_no_other_its_place(
    model: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    work, nbytes = model
    twice = data.draw(st.integers(1, len(work) - 2))
    more = [list(values[: twice + 1]) + list(values[twice:]) for values in (work, nbytes)]
    for max_cuts in range(2, len(work) + 1):
        kept = most_valuable(*more, max_cuts)
        places = [index - (index > twice) for index in kept]
        assert area(work, nbytes, places) == pytest.approx(
            area(work, nbytes, most_valuable(work, nbytes, max_cuts)), rel=1e-9
        )
