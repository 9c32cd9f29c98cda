"""Gaps between engines, on a clock that nobody has to wait for."""

from __future__ import annotations

import sys
from math import exp

import pytest
from fake_pynvml import FakeGpu, fake_pynvml
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.cooling import Cooling, GapRule, Heat, gap_rule, heat
from pytest_lem.meters import nvml
from pytest_lem.model.cycle import Gap
from pytest_lem.model.errors import MeterError, UsageError

A, B = "GPU-aaaa1111-0", "GPU-bbbb2222-0"
SECOND = 1_000_000_000


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def now_ns(self) -> int:
        return self.now

    def sleep_until_ns(self, instant: int) -> None:
        assert instant > self.now, "a sleep that does not sleep"
        self.now = instant

    @property
    def seconds(self) -> float:
        return self.now / SECOND - 5


class Room:
    """GPUs that cool from what the work left them at, exponentially, once `work` has ended."""

    def __init__(self, idle=(40.0, 70.0), hot=(75.0, 300.0), tau_s=20.0) -> None:
        self.clock, self.idle, self.hot, self.tau_s, self.worked = FakeClock(), idle, hot, tau_s, {}

    def work(self, *gpus: str) -> None:
        self.worked |= dict.fromkeys(gpus, self.clock.now)

    def sense(self, uuid: str) -> Heat:
        if uuid not in self.worked:
            return Heat(*self.idle)
        left = exp(-(self.clock.now - self.worked[uuid]) / SECOND / self.tau_s)
        return Heat(*(idle + left * (hot - idle) for idle, hot in zip(self.idle, self.hot, strict=True)))

    def cooling(self, asked: str) -> Cooling:
        return Cooling(gap_rule(asked), self.sense, self.clock)


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ("30", GapRule("30", 30.0)),
        ("0.5", GapRule("0.5", 0.5)),
        ("cool", GapRule("cool", 300.0, cool=True)),
        ("cool:120", GapRule("cool:120", 120.0, cool=True)),
    ],
)
def test_a_gap_is_seconds_or_cool_with_a_cap(asked, rule):
    assert gap_rule(asked) == rule


@pytest.mark.parametrize("asked", ["", "-1", "warm", "30s", "cool:", "cool:-1", "cool:x", "30:cool", "inf", "nan"])
def test_anything_else_is_refused_with_what_would_be_right(asked):
    with pytest.raises(
        UsageError, match=rf"^--lem-gap={asked}: expected seconds, cool or cool:CAP .*, as in cool:120$"
    ):
        gap_rule(asked)


def test_a_timed_gap_takes_its_time_and_counts_down():
    room, said = Room(), []
    cooling = room.cooling("2.5")
    cooling.remember([A])
    gap = cooling.wait(said.append)
    assert gap == Gap(asked="2.5", seconds=2.5, ended="elapsed", temperature_c={A: 40.0}, power_w={A: 70.0})
    assert room.clock.seconds == 2.5
    assert said == ["gap 3 s left", "gap 2 s left", "gap 1 s left"]


def test_a_timed_gap_needs_no_gpu():
    assert Room().cooling("3").wait(str) == Gap(asked="3", seconds=3.0, ended="elapsed")


def test_cool_waits_until_temperature_and_power_are_almost_what_they_were():
    room, said = Room(), []
    cooling = room.cooling("cool")
    cooling.remember([A])
    room.work(A)
    gap = cooling.wait(said.append)
    # 230 W above idle fall to 12 W (10 % of 70 W and 5 W) in 59.1 s, 35 °C to 5 °C in 38.9 s: looked at each second.
    assert (gap.ended, gap.seconds) == ("cool", 60.0)
    assert gap.power_w[A] <= 82 < room.idle[1] + 230 * exp(-59 / 20)
    assert gap.temperature_c[A] <= 45
    assert said[0] == "cooling: 75 °C → 45 °C, 300 W → 82 W"


def test_cool_waits_for_each_of_several_gpus():
    room, said = Room(), []
    cooling = room.cooling("cool")
    cooling.remember([A, B])
    room.work(B)
    assert cooling.wait(said.append).seconds == 60.0
    room.work(A, B)
    cooling.wait(said.append)
    assert said[-1].count("°C →") == 2


def test_a_gpu_that_stays_hot_is_waited_for_until_the_cap():
    room = Room(tau_s=1e9)
    cooling = room.cooling("cool:12.5")
    cooling.remember([A])
    room.work(A)
    gap = cooling.wait(str)
    assert (gap.ended, gap.seconds) == ("cap", 12.5)
    assert gap.temperature_c[A] == pytest.approx(75.0)


def test_what_counts_is_how_the_gpu_was_before_the_first_engine():
    room = Room(tau_s=1e9)
    cooling = room.cooling("cool:5")
    cooling.remember([A])
    room.work(A)
    cooling.remember([A])  # it is hot now, but that is not how it was
    assert cooling.wait(str).ended == "cap"


def test_a_gpu_that_is_colder_than_before_is_cool():
    room = Room(hot=(30.0, 20.0))
    cooling = room.cooling("cool")
    cooling.remember([A])
    room.work(A)
    assert cooling.wait(str).seconds == 0.0


def test_without_a_gpu_there_is_nothing_to_cool():
    assert Room().cooling("cool").wait(str) == Gap(asked="cool", seconds=0.0, ended="no-gpu")


@pytest.mark.parametrize(
    ("now", "ended"),
    [
        (Heat(45.0, None), "cool"),
        (Heat(46.0, None), "cap"),
        (Heat(None, 82.0), "cool"),
        (Heat(None, 83.0), "cap"),
        (Heat(45.0, 83.0), "cap"),
        (Heat(None, None), "cap"),  # it cannot be called cool
    ],
)
def test_a_gpu_is_judged_by_what_it_tells(now, ended):
    heats = iter([Heat(40.0, 70.0)])
    cooling = Cooling(gap_rule("cool:3"), lambda uuid: next(heats, now), FakeClock())
    cooling.remember([A])
    gap = cooling.wait(str)
    assert gap.ended == ended
    assert gap.temperature_c == ({} if now.temperature_c is None else {A: now.temperature_c})


@given(
    idle=st.tuples(st.floats(10, 60), st.floats(10, 150)),
    more=st.tuples(st.floats(0, 60), st.floats(0, 600)),
    tau_s=st.floats(0.5, 500),
    cap=st.integers(0, 120),
)
def test_a_gap_never_outlasts_its_cap_and_ends_cool_only_when_it_is(idle, more, tau_s, cap):
    room = Room(idle, (idle[0] + more[0], idle[1] + more[1]), tau_s)
    cooling = room.cooling(f"cool:{cap}")
    cooling.remember([A])
    room.work(A)
    gap = cooling.wait(str)
    is_cool = gap.temperature_c[A] <= idle[0] + 5 and gap.power_w[A] <= 1.1 * idle[1] + 5
    assert gap.seconds <= cap
    assert gap.ended == ("cool" if is_cool else "cap")
    if not is_cool:
        assert gap.seconds == cap


@pytest.fixture
def machine(monkeypatch):
    nvml.library.cache_clear()
    yield lambda *gpus: monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(*gpus))
    nvml.library.cache_clear()


def test_heat_is_asked_of_the_gpu_by_uuid(machine):
    machine(FakeGpu(A), FakeGpu(B, temperature=63, instant_mw=250_000))
    assert heat(B) == Heat(63, 250.0)
    with pytest.raises(MeterError, match=r"GPU-gone: Not Found"):
        heat("GPU-gone")


def test_a_gpu_without_the_power_field_tells_its_average_and_one_without_either_none(machine):
    neither = {"186", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature"}
    machine(FakeGpu(A, lacks={"186"}), FakeGpu(B, lacks=neither))
    assert (heat(A), heat(B)) == (Heat(41, 118.0), Heat(None, None))
