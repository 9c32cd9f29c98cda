"""Joules between two instants of work, from marks that are known; and which instants all meters agree on."""

from __future__ import annotations

import pytest

from pytest_lem.meters.trail import Mark, Trail, common_edges, spread_evenly, unread
from pytest_lem.model.reading import DeviceReading

MS, SECOND = 1_000_000, 1_000_000_000


def a_trail(watts=(100.0,) * 50, *, tick_ms=100, begin_ms=0, std_ms=0.0, **changes):
    """Marks `tick_ms` apart, the mean power between them as given."""
    marks = [Mark(begin_ms * MS, 0.0, std_ms * MS)]
    for power in watts:
        last = marks[-1]
        marks.append(Mark(last.time_ns + tick_ms * MS, last.joules + power * tick_ms / 1e3, std_ms * MS))
    return Trail("GPU-0", "gpu", "nvml", "counter", marks=tuple(marks), **changes)


def test_between_two_ticks_the_joules_are_the_counters():
    found = a_trail().reading(1 * SECOND, 3 * SECOND)
    assert (found.joules, found.std) == (pytest.approx(200.0), 0.0)
    assert (found.head.joules, found.tail.joules) == (pytest.approx(100.0), pytest.approx(300.0))
    assert (found.source, found.kind, found.meter) == ("measured", "gpu", "nvml")


def test_between_ticks_joules_are_interpolated():
    assert a_trail((100.0, 300.0) * 25).reading(1025 * MS, 3075 * MS).joules == pytest.approx(405.0)


def test_a_tick_whose_time_is_unsure_makes_its_power_times_that_unsure():
    found = a_trail(std_ms=3).reading(1 * SECOND, 3 * SECOND)
    assert found.std == pytest.approx(2**0.5 * 100 * 3e-3)


def test_power_that_changes_makes_an_edge_between_ticks_unsure():
    steady, wild = a_trail(), a_trail((100.0, 300.0) * 25)
    assert steady.reading(1050 * MS, 3 * SECOND).std == 0.0
    # 200 W more beside it, half-way through 0.1 s: at most 200 × 0.1 / 4 J, uniform.
    assert wild.reading(1050 * MS, 3 * SECOND).std == pytest.approx(5 / 3**0.5)


def test_a_counter_that_weighs_its_tick_unevenly_is_unsure_of_each_second():
    found = a_trail(phase_spread=0.04).reading(0, 4 * SECOND)
    assert found.std == pytest.approx(100 * 0.04 / 12**0.5 * 4**0.5)


@pytest.mark.parametrize(
    ("trail", "start", "end", "reason"),
    [
        (a_trail(), -1, 2 * SECOND, "the counter was not read at both edges of the window"),
        (a_trail(), 1, 9 * SECOND, "the counter was not read at both edges of the window"),
        (a_trail(()), 0, 0, "the counter was not read at both edges of the window"),
        (a_trail(), 0, 900 * MS, "the window is shorter than 1 s: its edges outweigh it"),
        (a_trail((), reason="the sensor is gone"), 0, 2 * SECOND, "the sensor is gone"),
    ],
)
def test_what_cannot_be_told_has_its_reason(trail, start, end, reason):
    found = trail.reading(start, end)
    assert (found.joules, found.std, found.source, found.reason) == (None, None, None, reason)


def test_all_ticks_are_kept_with_their_joules():
    assert a_trail((50.0,) * 2, begin_ms=7).reading(0, SECOND).ticks == (
        (7 * MS, 0.0),
        (107 * MS, 5.0),
        (207 * MS, 10.0),
    )


def test_the_window_is_the_widest_between_ticks():
    assert common_edges([a_trail(begin_ms=30)], 1 * SECOND, 3 * SECOND) == (1030 * MS, 2930 * MS)


def test_without_a_counter_the_window_is_all_of_the_steady_time():
    assert common_edges([], 7, 7 + SECOND) == (7, 7 + SECOND)
    assert common_edges([a_trail((), reason="gone")], 7, 7 + SECOND) == (7, 7 + SECOND)


def test_the_slowest_counter_gives_the_edges():
    fast, slow = a_trail((10.0,) * 300, tick_ms=20), a_trail((10.0,) * 20, tick_ms=250, begin_ms=100)
    assert common_edges([fast, slow], 1 * SECOND, 3 * SECOND) == (1100 * MS, 2850 * MS)


def test_a_tick_that_was_seen_sharply_is_rather_an_edge():
    trail = a_trail()
    marks = [Mark(m.time_ns, m.joules, (1 if i in (12, 28) else 5) * MS) for i, m in enumerate(trail.marks)]
    sharp = Trail("GPU-0", "gpu", "nvml", "counter", marks=tuple(marks))
    assert common_edges([sharp], 1 * SECOND, 3 * SECOND) == (1200 * MS, 2800 * MS)


@pytest.mark.parametrize(("tick_ms", "length"), [(100, 950 * MS), (600, 1900 * MS)])
def test_a_window_of_less_than_a_second_or_three_ticks_is_none(tick_ms, length):
    assert common_edges([a_trail(tick_ms=tick_ms)], 1 * SECOND, 1 * SECOND + length) is None


def test_an_estimate_of_mean_power_is_spread_evenly():
    estimate = DeviceReading(
        device="host-cpu", kind="cpu", meter="codecarbon", method="cpu_load", source="estimated", joules=400.0
    )
    found = spread_evenly(estimate, 0, 8 * SECOND).reading(2 * SECOND, 4 * SECOND)
    assert (found.joules, found.source) == (pytest.approx(100.0), "estimated")


def test_a_meter_that_cannot_read_under_load_says_so():
    reading = DeviceReading(device="x", kind="gpu", meter="m", method="counter", source="measured", joules=400.0)
    found = unread(reading, "its meter reads no joules while the engine works").reading(0, 2 * SECOND)
    assert (found.joules, found.reason) == (None, "its meter reads no joules while the engine works")
