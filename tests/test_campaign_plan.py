"""What a run is about to do, in one line, with the grounds of its time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign.plan import Pause, Step, expected_seconds, plan
from pytest_lem.model.specs import ProtocolSpec


def steps(count: int, *, launches: int = 1, seconds: float | None = None, load: float | None = None) -> list[Step]:
    return [Step(f"e{index}", index % launches, 60.0, seconds, load) for index in range(count)]


def test_a_first_run_is_a_guess():
    found = plan(steps(4, launches=2))
    assert found.seconds == 4 * 60 + 2 * 20
    assert found.line == "4 tests of 4 experiments, 2 engine starts, about 5 min (a guess)"


def test_what_took_its_time_before_takes_it_again():
    assert plan(steps(1, seconds=30.0, load=3.0)).line == (
        "1 test of 1 experiment, 1 engine start, about 33 s (as they took before)"
    )
    told = plan(steps(2, seconds=30.0), before="as tests of these names took before").line
    assert told.endswith("about 80 s (as tests of these names took before, engine starts a guess)")
    mixed = [*steps(1, seconds=30.0, load=3.0), Step("new", 0, 60.0, None, 3.0)]
    assert plan(mixed).line.endswith("about 2 min (1 of 2 as they took before, the rest a guess)")


def test_lanes_share_the_time_and_what_is_done_needs_none():
    found = plan(steps(4, launches=4, seconds=40.0, load=20.0), lanes=2, done=["e0", "e1"])
    assert found.seconds == 120
    assert found.line == (
        "6 tests of 4 experiments, 2 measured already, 4 engine starts, 2 lanes, about 2 min (as they took before)"
    )
    assert plan([], done=["e0", "e0", "e1"]).line == (
        "3 tests of 2 experiments, 3 measured already, 0 engine starts, about 1 s (nothing is left to measure)"
    )


def test_what_failed_before_needs_no_engine_and_no_time():
    found = plan(steps(1, seconds=40.0, load=20.0), done=["e8"], failed=["e8", "e9"])
    assert found.line == (
        "4 tests of 3 experiments, 1 measured already, 2 failed before, 1 engine start, about 60 s "
        "(as they took before)"
    )


def test_cycles_are_said_where_there_are_several():
    ten = [Step(name, cycle, 1.0) for name in "ab" for cycle in range(10)]
    assert plan(ten).line.startswith("20 tests of 2 experiments in 10 cycles, 10 engine starts, ")
    some = [*ten[:13], Step("window", None, 1.0)]
    assert plan(some).line.startswith("14 tests of 3 experiments in 3 to 10 cycles, 10 engine starts, ")


def test_a_gap_stands_before_each_start_but_the_first_of_a_lane():
    two = steps(4, launches=4, seconds=10.0, load=5.0)
    assert plan(two, gap=Pause(600.0)).seconds == 4 * 15 + 3 * 600
    assert plan(two, gap=Pause(600.0), lanes=2).seconds == (4 * 15 + 2 * 600) / 2
    assert plan(two, gap=Pause(600.0), lanes=5).seconds == 4 * 15 / 5
    cool = plan(two, gap=Pause(300.0, at_most=True))
    assert (cool.seconds, cool.cooling) == (60, 900)
    assert cool.line == (
        "4 tests of 4 experiments, 4 engine starts, about 60 s, and at most 15 min of cooling (as they took before)"
    )


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (7200, "2.0 h")])
def test_times_are_said_as_people_say_them(seconds, said):
    assert f"about {said} " in plan([Step("e", None, seconds)]).line


def test_the_default_protocol_takes_about_as_long_as_it_was_seen_to():
    assert expected_seconds(ProtocolSpec()) == pytest.approx(61.2)  # 64 s were measured, with a calibration
    assert expected_seconds(ProtocolSpec(rounds=1, warmup_rounds=0, warmup_seconds=0, latency=False)) == 4.4


@given(st.floats(1, 1000), st.integers(1, 30))
def test_no_item_is_expected_to_take_longer_than_it_may(most, rounds):
    assert expected_seconds(ProtocolSpec(max_seconds=most, rounds=rounds)) <= most
