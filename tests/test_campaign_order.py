"""Launches in order: as few engine starts as can be, whatever the order; carry-over balanced where asked."""

from __future__ import annotations

from collections import Counter
from itertools import groupby, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign.order import ORDERS, ordered, williams
from pytest_lem.campaign.plan import Step, plan
from pytest_lem.model.errors import UsageError

MATRIX = [(engine, cycle) for engine in "ABC" for _ in range(2) for cycle in (0, 1)]  # two batches, two cycles
launches = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 2)), max_size=40)
few = st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 1)), min_size=1, max_size=6)


def in_order(items, order, seed=0):
    return [items[position] for position in ordered(items, order, seed)]


def sequence(items, order, seed=0):
    """The launches one after another, as `A0 B0`."""
    return " ".join(f"{engine}{cycle}" for (engine, cycle), _ in groupby(in_order(items, order, seed)))


def starts(items):
    """Engine starts: an engine is kept while the next item has the same engine and cycle."""
    return sum(1 for before, after in pairwise([None, *items]) if before != after)


def test_grouped_takes_each_engine_through_its_cycles():
    assert sequence(MATRIX, "grouped") == "A0 A1 B0 B1 C0 C1"


def test_interleaved_takes_a_cycle_of_every_engine_before_the_next():
    assert sequence(MATRIX, "interleaved") == "A0 B0 C0 A1 B1 C1"


def test_latin_takes_each_cycle_by_another_row_of_the_design():
    items = [(engine, cycle) for engine in "ABCD" for cycle in range(5)]
    assert sequence(items, "latin") == (
        "A0 B0 D0 C0 B1 C1 A1 D1 C2 D2 B2 A2 D3 A3 C3 B3 A4 B4 D4 C4"  # the fifth cycle begins again
    )


def test_latin_rotates_what_a_launch_measures_first():
    assert ordered([("A", cycle) for cycle in (0, 1, 2, 3) for _ in range(3)], "latin") == [
        *(0, 1, 2),
        *(4, 5, 3),
        *(8, 6, 7),
        *(9, 10, 11),
    ]


def test_shuffled_is_drawn_from_the_seed():
    items = [(engine, cycle) for engine in range(5) for cycle in range(4) for _ in range(3)]
    drawn = {seed: tuple(ordered(items, "shuffled", seed)) for seed in range(20)}
    assert len(set(drawn.values())) == 20
    assert all(tuple(ordered(items, "shuffled", seed)) == order for seed, order in drawn.items())
    inside = Counter(tuple(position % 3 for position in order[:3]) for order in drawn.values())
    assert len(inside) > 1  # the items of a launch are drawn too
    alternations = [starts([items[position][0] for position in order]) for order in drawn.values()]
    assert min(alternations) > 5  # launches of all engines are mixed, not engines taken one by one


def test_an_engine_with_fewer_cycles_is_left_out_of_the_later_ones():
    items = [("A", 0), ("B", 0), ("B", 1), ("C", 0), ("C", 1)]
    assert sequence(items, "interleaved") == "A0 B0 C0 B1 C1"
    assert sorted(in_order(items, "latin")) == items


@given(launches, st.sampled_from(ORDERS), st.integers(0, 9))
def test_every_order_runs_every_item_once_and_starts_one_engine_a_launch(items, order, seed):
    positions = ordered(items, order, seed)
    assert sorted(positions) == list(range(len(items)))
    assert starts([items[position] for position in positions]) == len(set(items))


@given(few)
def test_no_order_at_all_starts_fewer_engines_than_grouped(items):
    fewest = min(starts(order) for order in permutations(items))
    assert starts(in_order(items, "grouped")) == fewest


@given(few, st.sampled_from(ORDERS))
def test_the_plan_tells_the_fewest_starts_that_any_order_could_do_with(items, order):
    steps = [Step(launch[0], launch, 1.0) for launch in in_order(items, order)]
    assert plan(steps).starts == min(starts(each) for each in permutations(items))


@pytest.mark.parametrize("order", ["grouped", "interleaved"])
@given(items=launches)
def test_what_one_launch_measures_keeps_its_order(order, items):
    positions = ordered(items, order)
    for launch in set(items):
        own = [position for position in positions if items[position] == launch]
        assert own == sorted(own)


@pytest.mark.parametrize("count", range(1, 12))
def test_each_engine_follows_each_other_one_equally_often(count):
    rows = williams(count)
    times = 2 if count % 2 else 1
    assert len(rows) == count * times
    assert all(sorted(row) == list(range(count)) for row in rows)
    follows = Counter(pair for row in rows for pair in pairwise(row))
    assert follows == dict.fromkeys(permutations(range(count), 2), times)
    for place in zip(*rows, strict=True):  # and each stands equally often at each place
        assert set(Counter(place).values()) == {times}


def test_an_unknown_order_is_refused_with_the_known_ones():
    with pytest.raises(UsageError) as caught:
        ordered([], "random")
    assert str(caught.value) == (
        "--lem-order=random: there is no such order; known: grouped, interleaved, shuffled, latin"
    )
