"""Requests in groups: what each strategy promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.model.errors import UsageError
from pytest_lem.workloads.batching import Size, groups, held, overrun, padding

STRATEGIES = ["static", "dynamic", "sorted_static", "sorted_dynamic"]
sizes = st.lists(st.builds(Size, st.integers(1, 300), st.integers(1, 300)), max_size=60)
batches = st.integers(1, 12)
budgets = st.integers(600, 4000)  # the largest request alone holds 600


def grouped(found, strategy, batch, most):
    return groups(found, strategy, batch, most if strategy.endswith("dynamic") else None)


def test_static_groups_are_filled_in_order():
    found = [Size(prompt, 8) for prompt in (5, 9, 2, 7, 1)]
    assert groups(found, "static", 2) == ((0, 1), (2, 3), (4,))
    assert padding(groups(found, "static", 2), found) == 4 + 5


def test_sorting_puts_like_lengths_together():
    found = [Size(prompt, 8) for prompt in (5, 9, 2, 7, 1)]
    assert groups(found, "sorted_static", 2) == ((1, 3), (0, 2), (4,))
    assert padding(groups(found, "sorted_static", 2), found) == 2 + 3


def test_a_dynamic_group_is_closed_before_it_would_hold_too_much():
    found = [Size(10, 10), Size(10, 10), Size(30, 10), Size(10, 10)]
    assert groups(found, "dynamic", 8, 80) == ((0, 1), (2, 3))
    assert groups(found, "dynamic", 8, 79) == ((0, 1), (2,), (3,))


def test_a_group_runs_until_its_longest_answer_is_complete():
    found = [Size(4, 10), Size(4, 2), Size(4, 7)]
    assert overrun(((0, 1), (2,)), found) == 8


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(sizes, batches, budgets)
def test_every_request_is_in_one_group_within_size_and_budget(strategy, found, batch, most):
    made = grouped(found, strategy, batch, most)
    assert sorted(index for group in made for index in group) == list(range(len(found)))
    assert all(1 <= len(group) <= batch for group in made)
    if strategy.endswith("dynamic"):
        assert all(held(group, found) <= most for group in made)


@pytest.mark.parametrize("strategy", ["static", "dynamic"])
@given(sizes, batches, budgets)
def test_sorted_never_pads_more_than_unsorted(strategy, found, batch, most):
    plain, by_length = (grouped(found, name, batch, most) for name in (strategy, f"sorted_{strategy}"))
    assert padding(by_length, found) <= padding(plain, found)


@pytest.mark.parametrize(
    ("strategy", "most", "line"),
    [
        ("dynamic", None, "batching='dynamic' fills groups up to max_tokens_per_batch; give that number of tokens"),
        (
            "dynamic",
            99,
            "max_tokens_per_batch=99: request 1 alone holds 60 prompt and 40 output tokens; give at least 100",
        ),
        ("static", 99, "max_tokens_per_batch=99: batching='static' counts requests, not tokens"),
    ],
)
def test_what_cannot_be_is_one_line(strategy, most, line):
    with pytest.raises(UsageError, match=line.replace("(", r"\(")):
        groups([Size(10, 10), Size(60, 40)], strategy, 4, most)
