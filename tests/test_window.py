from __future__ import annotations

from math import exp, hypot, sqrt

import pytest
from builders import SECOND, an_edge
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.meters.idle import Belief, PowerOver, idle_joules
from pytest_lem.meters.tick_train import Tick, TickTrain
from pytest_lem.meters.window import (
    PowerPoint,
    edge_std,
    head_tail,
    series_joules,
    weighting_std,
    wrapped_difference,
)

MS = 1_000_000
seconds = st.floats(0.0, 2.0)
watts = st.floats(1.0, 1500.0)


def head_and_tail(head_s, work_s, tail_s, head_w, work_w, tail_w):
    """Edges of an even counter around work of constant power; the counter starts at 1 MJ."""
    start, end = int(head_s * SECOND), int((head_s + work_s) * SECOND)
    total = (start * head_w + (end - start) * work_w + int(tail_s * SECOND) * tail_w) / SECOND
    head = an_edge(0, 1e6, power_w=head_w)
    tail = an_edge(end + int(tail_s * SECOND), 1e6 + total, power_w=tail_w)
    return head, tail, start, end


@given(seconds, st.floats(1.0, 100.0), seconds, watts, watts, watts)
def test_the_window_gives_back_the_works_joules_whatever_idle_lies_around_it(head_s, work_s, tail_s, a, b, c):
    head, tail, start, end = head_and_tail(head_s, work_s, tail_s, a, b, c)

    found = head_tail(head, tail, start, end, tick_s=0.1)

    assert found.joules == pytest.approx(b * (end - start) / SECOND, rel=1e-6, abs=1e-4)


@given(seconds, st.floats(1.0, 100.0), seconds, watts, watts, watts)
def test_shifting_all_instants_changes_nothing(head_s, work_s, tail_s, a, b, c):
    head, tail, start, end = head_and_tail(head_s, work_s, tail_s, a, b, c)
    day = 86_400 * SECOND
    later = [edge.replace(time_ns=edge.time_ns + day) for edge in (head, tail)]

    assert head_tail(*later, start + day, end + day, tick_s=0.1) == head_tail(head, tail, start, end, tick_s=0.1)


def test_uncertainty_is_each_edges_time_and_power_and_the_uneven_weighting_of_two_ticks():
    head = an_edge(0, 0.0, power_w=100.0, time_std_ns=2e6, power_std_w=3.0)
    tail = an_edge(int(2.2 * SECOND), 640.0, power_w=100.0, time_std_ns=1e6, power_std_w=5.0)

    found = head_tail(head, tail, int(0.05 * SECOND), int(2.05 * SECOND), tick_s=0.1)

    assert found.joules == pytest.approx(620.0)
    parts = (100 * 2e-3, 0.05 * 3, 100 * 1e-3, 0.15 * 5, 2 * 31.0 * 0.039 / sqrt(12))
    assert found.std == pytest.approx(hypot(*parts))


def test_an_edge_right_beside_the_work_is_unsure_by_its_tick_alone():
    assert edge_std(an_edge(power_w=50.0, time_std_ns=4e6, power_std_w=10.0), 0.0) == pytest.approx(0.2)


def test_a_counter_known_to_weigh_evenly_adds_nothing_for_its_ticks():
    assert weighting_std(40.0, 0.0) == 0.0


@pytest.mark.parametrize(("start", "end"), [(-1, 10), (10, 10), (20, 10), (10, 101)])
def test_a_window_outside_its_edges_is_refused(start, end):
    with pytest.raises(ValueError, match="between its head and its tail"):
        head_tail(an_edge(0), an_edge(100), start, end, tick_s=0.1)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30, unique=True), watts)
def test_constant_power_is_integrated_exactly_wherever_its_readings_lie(millis, power):
    points = [PowerPoint(ms * MS, power) for ms in sorted(millis)]

    found = series_joules(points, -50 * MS, 9_950 * MS + 100 * MS, idle_w=power, period_s=0.1)

    assert found.joules == pytest.approx(power * 10.1)
    assert found.std == pytest.approx(0.0, abs=1e-6)


@given(st.floats(0, 500), st.floats(-50, 50))
def test_power_on_a_straight_line_is_integrated_exactly_between_its_readings(base, slope):
    points = [PowerPoint(s * SECOND, base + slope * s) for s in range(6)]

    found = series_joules(points, 0, 5 * SECOND, idle_w=0.0, period_s=0.0)

    assert found.joules == pytest.approx(5 * base + 12.5 * slope, abs=1e-6)


def test_readings_before_and_after_the_work_do_not_cut_its_corners():
    mixed = {9: 250.0, 21: 250.0}
    points = [PowerPoint(t * 100 * MS, mixed.get(t, 400.0 if 10 <= t <= 20 else 100.0)) for t in range(31)]

    found = series_joules(points, int(0.95 * SECOND), int(2.05 * SECOND), idle_w=100.0, period_s=0.1)

    assert found.joules == pytest.approx(440.0)
    assert found.std == pytest.approx(hypot(30 / sqrt(12), 30 / sqrt(12)))


def test_a_window_without_any_power_reading_is_refused():
    with pytest.raises(ValueError, match="no power reading lies inside"):
        series_joules([PowerPoint(0, 100.0)], 10, 20, idle_w=0.0, period_s=0.1)


@given(st.integers(0, 999), st.integers(0, 999))
def test_a_counter_that_wraps_once_counts_on(earlier, counted):
    later = (earlier + counted) % 1000

    assert wrapped_difference(later, earlier, 999) == counted


def reading(ms: float, power: float, std: float = 0.5) -> PowerOver:
    return PowerOver(int(ms * MS), int(ms * MS), power, std)


@given(watts, st.floats(0.0, 1.0))
def test_idle_that_keeps_its_power_costs_power_times_time(power, length):
    readings = [reading(-100, power), reading(0, power), reading(100, power)]

    found = idle_joules(readings, Belief(power, 5.0), origin_ns=0, start_ns=0, end_ns=int(length * SECOND))

    assert found.joules == pytest.approx(power * length, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("tau", [0.06, 0.2, 0.5, 1.5])
def test_power_that_decays_after_work_is_followed_back_to_the_works_end(tau):
    def decaying(s):
        return 100 + 40 * exp(-s / tau)

    readings = [reading(1000 * s, decaying(s)) for s in (0.02, 0.12)]
    found = idle_joules(readings, Belief(100.0, 5.0), origin_ns=0, start_ns=0, end_ns=150 * MS)

    truth = 15 + 40 * tau * (1 - exp(-0.15 / tau))
    assert found.joules == pytest.approx(truth, abs=0.25)
    assert abs(found.joules - truth) <= 2.5 * found.std


def test_without_any_reading_idle_is_as_unsure_as_the_belief_and_a_decay_of_tens_of_watts():
    found = idle_joules([], Belief(100.0, 5.0), origin_ns=0, start_ns=0, end_ns=SECOND)

    assert found.joules == pytest.approx(100.0)
    assert 5 <= found.std <= 31


def test_more_readings_make_idle_surer():
    few = [reading(50, 110.0)]
    many = [reading(ms, 110.0) for ms in (10, 30, 50, 100, 140)]

    def std(readings):
        return idle_joules(readings, Belief(110.0, 5.0), origin_ns=0, start_ns=0, end_ns=150 * MS).std

    assert std(many) < 0.6 * std(few)


def blurred(ms: float, half_ms: float = 3.0) -> Tick:
    return Tick(int(ms * MS), half_ms * MS / 2.7, 1.0, half_ms * MS)


def trained(period_ms: float, count: int = 8) -> TickTrain:
    train = TickTrain()
    for n in range(count):
        train.date(Tick(int(n * period_ms * MS), 1.1 * MS, float(n), 3.0 * MS), neighbours=n > 0)
    return train


@pytest.mark.parametrize("period", [20.0, 50.0, 100.0])
def test_the_train_learns_the_counters_period(period):
    assert trained(period).period_ns == pytest.approx(period * MS, rel=0.02)


def test_a_tick_blurred_by_a_slow_call_is_dated_by_its_neighbours():
    found = trained(100.0).date(blurred(812.0, 15.0), neighbours=True)

    assert found.time_ns == pytest.approx(800 * MS, abs=3 * MS)
    assert found.std_ns < 3 * MS


def test_a_tick_is_never_dated_outside_the_calls_that_enclose_it():
    found = trained(100.0).date(blurred(830.0, 3.0), neighbours=True)

    assert found.time_ns == 830 * MS


def test_a_call_as_long_as_the_period_leaves_its_tick_unsure():
    found = trained(20.0).date(blurred(165.0, 11.0), neighbours=True)

    assert found.std_ns >= 11 * MS
