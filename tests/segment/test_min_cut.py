from __future__ import annotations

import math
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from mobilesplit.segment.min_cut import (
    Costs,
    Root,
    Value,
    cheapest_division,
    cheapest_prefix,
    price,
)

TIMES = st.integers(0, 100)


@st.composite
def any_costs(draw: st.DrawFn) -> Costs:
    """A DAG of up to seven operators; every value is read by any of the later ones."""
    count = draw(st.integers(1, 7))

    def value(first_reader: int, depth: int = 0) -> Value:
        later = range(first_reader, count)
        readers = draw(st.sets(st.sampled_from(later))) if later else set()
        forms = draw(st.integers(0, 2)) if depth < 2 else 0
        is_output = draw(st.booleans())
        return Value(
            name="",
            send_ps=draw(TIMES if is_output else st.none() | TIMES),  # outputs can cross
            readers=tuple(sorted(readers)),
            is_output=is_output,
            forms=tuple(value(first_reader, depth + 1) for _ in range(forms)),
        )

    return Costs(
        device_ps=tuple(draw(TIMES) for _ in range(count)),
        cloud_ps=tuple(draw(TIMES) for _ in range(count)),
        roots=(Root(None, value(0)), *(Root(index, value(index + 1)) for index in range(count))),
        request_ps=draw(TIMES),
        answer_ps=draw(TIMES),
    )


def readers_of(value: Value) -> set[int]:
    return set(value.readers).union(*(readers_of(form) for form in value.forms))


def closed_sets(costs: Costs) -> list[frozenset[int]]:
    """Every set of operators that has with each operator all that it reads from."""
    sources: dict[int, set[int]] = {index: set() for index in range(len(costs.device_ps))}
    for root in costs.roots:
        if root.producer is not None:
            for reader in readers_of(root.value):
                sources[reader].add(root.producer)
    sets = (
        frozenset(chosen)
        for size in range(len(sources) + 1)
        for chosen in combinations(sources, size)
    )
    return [chosen for chosen in sets if all(sources[index] <= chosen for index in chosen)]


@settings(max_examples=100, deadline=None)
@given(any_costs())
def test_the_minimum_cut_is_the_cheapest_of_all_divisions(costs: Costs) -> None:
    divisions = closed_sets(costs)
    found = cheapest_division(costs)
    assert found in divisions
    assert price(costs, found).total_ps == min(price(costs, one).total_ps for one in divisions)


@settings(max_examples=50, deadline=None)
@given(any_costs())
def test_no_prefix_is_cheaper_than_the_best_prefix_nor_that_than_the_best_division(
    costs: Costs,
) -> None:
    prefixes = [price(costs, frozenset(range(end))) for end in range(len(costs.device_ps) + 1)]
    best = price(costs, cheapest_prefix(costs)).total_ps
    assert best == min(prefix.total_ps for prefix in prefixes)
    assert price(costs, cheapest_division(costs)).total_ps <= best


def test_a_value_that_two_operators_read_is_sent_once() -> None:
    image = Value("image", send_ps=7, readers=(0, 1))
    costs = Costs((100, 100), (1, 1), (Root(None, image),), request_ps=2, answer_ps=3)
    assert price(costs, frozenset()).uplink_ps == 2 + 7
    assert price(costs, frozenset()).total_ps == 2 + 7 + 2 + 3


def test_a_value_crosses_in_the_form_that_is_cheapest_for_what_the_cloud_reads() -> None:
    first = Value("first", send_ps=1, readers=(1,))
    rest = Value("rest", send_ps=8, readers=(2,))
    whole = Value("whole", send_ps=5, forms=(first, rest))
    costs = Costs((1, 1, 1), (1, 1, 1), (Root(None, Value("x", 1, (0,))), Root(0, whole)), 0, 0)
    assert [value.name for value in price(costs, frozenset({0})).sent] == ["whole"]
    assert [value.name for value in price(costs, frozenset({0, 2})).sent] == ["first"]


def test_an_output_of_the_device_crosses_if_and_only_if_the_cloud_computes_anything() -> None:
    early = Value("early", send_ps=9, is_output=True)
    roots = (
        Root(None, Value("x", 1, (0, 1))),
        Root(0, early),
        Root(1, Value("late", 4, is_output=True)),
    )
    costs = Costs((5, 5), (1, 1), roots, request_ps=2, answer_ps=3)
    assert price(costs, frozenset({0})).sent == (roots[0].value, early)
    assert price(costs, frozenset({0})).uplink_ps == 2 + 1 + 9
    assert price(costs, frozenset({0, 1})).total_ps == 5 + 5


def test_what_cannot_cross_is_never_cut() -> None:
    pair = Value("pair", send_ps=None, readers=(1,))
    costs = Costs((0, 100), (100, 0), (Root(None, Value("x", 50, (0,))), Root(0, pair)), 0, 0)
    assert math.isinf(price(costs, frozenset({0})).total_ps)
    assert cheapest_division(costs) == {0, 1}


def test_the_round_trip_can_keep_all_on_the_device() -> None:
    roots = (Root(None, Value("x", 1, (0,))),)
    assert cheapest_division(Costs((10,), (1,), roots, request_ps=1, answer_ps=1)) == frozenset()
    assert cheapest_division(Costs((10,), (1,), roots, request_ps=5, answer_ps=5)) == {0}
