"""What `lem_energy.phases` plans, and what it makes of a measurement whose rounds are known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from builders import a_cycle, a_measurement, a_reading, a_round
from served_lab import Session, poisson

from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec
from pytest_lem.model.traffic import TrafficSpec
from pytest_lem.plugin.phasing import phases_of

ITEM = SimpleNamespace(nodeid="t.py::test_phases")
GROUPS = WorkloadSpec(batch=8, prompt_tokens=100, output_tokens=8)
TRAFFIC = GROUPS.replace(traffic=TrafficSpec(qps=20.0, seconds=12.0))


class Planned(Exception):
    """Stops before anything is measured."""


def planned(workload, protocol):
    """How many rounds are asked for."""

    def measure(workload, protocol, name):
        raise Planned(protocol.rounds)

    with pytest.raises(Planned) as stopped:
        phases_of(ITEM, workload, protocol, measure, "")
    return stopped.value.args[0]


def found(workload, rounds):
    """The phases of a measurement that has these rounds."""
    made = a_measurement(cycles=(a_cycle(rounds=tuple(rounds)),))
    return phases_of(ITEM, workload, ProtocolSpec(), lambda *_: made, "")


def served(rounds=8, **session):
    """Rounds of traffic, whose whole passes have joules too."""
    made = Session(poisson(3, burstiness=0.5, **session), rounds=rounds).rounds()
    return [each.replace(served=each.served.replace(devices=each.devices)) for each in made]


def unsteady(round_):
    return round_.replace(served=round_.served.replace(steady=False))


def test_traffic_takes_eight_rounds_unless_the_test_asks_for_others():
    assert planned(TRAFFIC, ProtocolSpec()) == 8
    assert planned(TRAFFIC, ProtocolSpec(rounds=3)) == 3
    assert planned(GROUPS, ProtocolSpec()) == 4  # of each length, twice


def test_rounds_that_tell_nothing_are_left_out_and_the_result_says_how_many_and_why():
    first, second, *others = served(rounds=9)
    told = found(TRAFFIC, [unsteady(first), *others, unsteady(second)])
    why = "the traffic has no steady time; give it more requests or seconds"
    assert (told.rounds, told.notes) == (7, (f"2 rounds left out: {why}",))
    assert told.prefill.joules_per_token == pytest.approx(0.008, rel=0.02)
    assert told.decode.joules_per_token == pytest.approx(0.05, rel=0.02)


def test_a_round_too_short_to_count_is_left_out_and_the_result_says_so():
    told = found(TRAFFIC, [*served(), *served(rounds=1, seconds=2.0)])
    assert (told.rounds, told.notes) == (8, ("1 round left out: fewer than 5 windows",))
    assert told.prefill.joules_per_token == pytest.approx(0.008, rel=0.02)


def test_where_no_round_tells_anything_each_reason_is_told_once():
    one, two, three = served(rounds=3)
    told = found(TRAFFIC, [unsteady(one), two.replace(counters={"cached_tokens": 64.0}), unsteady(three)])
    assert told.prefill.reason == (
        "unresolvable: the traffic has no steady time; give it more requests or seconds; "
        "prompt tokens came out of the prefix cache, so that not all of them were prefilled"
    )
    assert (told.rounds, told.windows, told.notes) == (3, 0, ())


def test_groups_whose_prompts_came_out_of_the_cache_have_no_prefill_to_tell():
    told = found(GROUPS, [a_round(1), a_round(2, counters={"cached_tokens": 64.0})])
    why = "unresolvable: prompt tokens came out of the prefix cache, so that not all of them were prefilled"
    assert (told.prefill.reason, told.decode.reason) == (why, why)
    assert told.prefill.joules is told.prefill.joules_per_token is told.sum_error is None
    assert told.whole_joules == pytest.approx(80.0)
    uncached = found(GROUPS, [a_round(1), a_round(2, counters={"cached_tokens": 0.0})])
    assert uncached.prefill.joules_per_token == pytest.approx(0.1)


def test_groups_go_by_the_ticks_of_their_own_counter():
    slow, quick = (a_round(1, devices=(a_reading(tick_s=tick_s),)) for tick_s in (2.0, 0.1))
    told = found(GROUPS, [slow, quick])  # 4 s of prefill in a round
    assert told.prefill.reason == "unresolvable: a round spends 4 s in it, less than 3 ticks of 2 s"
    assert found(GROUPS, [quick, quick]).prefill.joules_per_token == pytest.approx(0.1)
