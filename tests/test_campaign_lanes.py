"""Lanes of a host, and chunks for lanes and shards: whole units, neighbours together, about equal."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign.lanes import LaneOptions, lane_count, lane_gpus, parse_shard, spread
from pytest_lem.model.errors import UsageError

GPUS = ("GPU-a", "GPU-b", "GPU-c", "GPU-d", "GPU-e")
sizes = st.lists(st.integers(1, 9), max_size=9)


def items(sizes):
    """Units of these sizes, one after another."""
    return [unit for unit, size in enumerate(sizes) for _ in range(size)]


def test_a_host_has_a_lane_for_each_set_of_gpus():
    assert lane_count(GPUS, LaneOptions()) == 5
    assert lane_count(GPUS, LaneOptions(gpus=2)) == 2
    assert lane_count(GPUS, LaneOptions(gpus=1, limit=3)) == 3
    assert lane_count(GPUS, LaneOptions(gpus=2, limit=3)) == 2


def test_a_host_without_gpus_has_one_lane_or_what_is_asked_for():
    assert lane_count((), LaneOptions(gpus=4)) == 1
    assert lane_count((), LaneOptions(limit=3)) == 3


def test_lanes_share_no_gpu_and_a_worker_too_many_gets_none():
    asked = LaneOptions(gpus=2)
    assert [lane_gpus(slot, GPUS, asked) for slot in range(3)] == [("GPU-a", "GPU-b"), ("GPU-c", "GPU-d"), None]
    assert lane_gpus(0, (), asked) == ()
    assert lane_gpus(1, (), asked) is None


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda: LaneOptions(gpus=0), "--lem-gpus-per-worker=0: a lane needs at least 1"),
        (lambda: LaneOptions(limit=0), "--lem-lanes=0: at least 1 lane must be left to measure in"),
        (
            lambda: lane_count(GPUS[:2], LaneOptions(gpus=4)),
            "--lem-gpus-per-worker=4: 2 GPU(s) visible here (CUDA_VISIBLE_DEVICES counts); ask for at most 2",
        ),
        (lambda: parse_shard("0/4"), "--lem-shard=0/4: expected I/N with I from 1 to N, like 1/4"),
        (lambda: parse_shard("5/4"), "--lem-shard=5/4: expected I/N with I from 1 to N, like 1/4"),
        (lambda: parse_shard("half"), "--lem-shard=half: expected I/N with I from 1 to N, like 1/4"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_option(wrong, line):
    with pytest.raises(UsageError) as caught:
        wrong()
    assert str(caught.value) == line


def test_a_shard_is_read():
    assert parse_shard("2/8") == (2, 8)


def test_equal_units_are_dealt_out_equally():
    assert spread(items([2, 2, 2, 2]), 2) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert spread(items([2, 2, 2, 2]), 3) == [0, 0, 0, 0, 1, 1, 2, 2]


def test_a_large_unit_gets_a_chunk_of_its_own():
    assert spread(items([1, 1, 10, 1]), 3) == [0, 0, *[1] * 10, 2]


def test_a_unit_whose_items_lie_apart_stays_whole():
    assert spread(["A", "B", "A", "B"], 2) == [0, 1, 0, 1]


@given(sizes, st.integers(1, 6))
def test_the_largest_chunk_is_as_small_as_any_cut_makes_it(sizes, count):
    loads = Counter(spread(items(sizes), count))
    cuts = (cut for number in range(min(count, len(sizes))) for cut in combinations(range(1, len(sizes)), number))
    best = min(
        (max(sum(sizes[a:b]) for a, b in zip((0, *cut), (*cut, len(sizes)), strict=True)) for cut in cuts), default=0
    )
    assert max(loads.values(), default=0) == best


@given(sizes, st.integers(1, 12))
def test_units_stay_whole_neighbours_stay_together_and_no_chunk_is_empty_without_need(sizes, count):
    units = items(sizes)
    chunks = spread(units, count)
    assert chunks == sorted(chunks)
    assert len({(unit, chunk) for unit, chunk in zip(units, chunks, strict=True)}) == len(sizes)
    assert set(chunks) == set(range(min(count, len(sizes))))
