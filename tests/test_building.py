"""An engine that is built before it serves: the joules of the build, read while it starts."""

from __future__ import annotations

import time

import pytest
from test_meter_watching import Recorder

from pytest_lem.building import started
from pytest_lem.meters.registry import MeterSet
from pytest_lem.meters.trail import Mark, Trail

SECOND = 1_000_000_000
IDLE_W, BUILDING_W = 100.0, 400.0


class Counted(Recorder):
    """A GPU whose counter ticked every 50 ms while it was watched; it drew more from `begin_ns` to `end_ns`."""

    begin_ns = end_ns = 0

    def watch(self, stopped):
        self.watched_ns = time.monotonic_ns()
        while not stopped():
            time.sleep(0.01)

    def trails(self):
        ticks = range(self.watched_ns - SECOND, time.monotonic_ns() + 3 * SECOND, SECOND // 20)
        marks = tuple(Mark(tick, self._joules(tick)) for tick in ticks)
        return (Trail(device=self.name, kind="cpu", meter=self.name, method="counter", marks=marks),)

    def _joules(self, instant):
        building = min(max(instant, self.begin_ns), self.end_ns) - self.begin_ns
        return (IDLE_W * (instant - self.watched_ns) + (BUILDING_W - IDLE_W) * building) / SECOND


class Made:
    """An engine that was just started."""

    build_devices = ()

    def __init__(self, span, seconds=1.5):
        self.build_span, self.build_seconds, self.killed = span, seconds, False

    def kill(self):
        self.killed = True


class Guarded(Recorder):
    """A meter whose guard speaks."""

    def end(self, start_ns, end_ns):
        (reading,) = super().end(start_ns, end_ns)
        return (reading.replace(faults=("another process is on the GPU: PID 4242",)),)


def over(*meters):
    return lambda: MeterSet(meters=meters)


def test_the_joules_of_a_build_are_those_of_its_own_time_within_the_start():
    gpu = Counted("GPU-a")

    def start():
        gpu.begin_ns = time.monotonic_ns()
        gpu.end_ns = gpu.begin_ns + round(1.5 * SECOND)
        return Made((gpu.begin_ns, gpu.end_ns))

    (reading,) = started(over(gpu), start).build_devices
    # 400 W for 1.5 s; a straight line through the tick in which power steps by 300 W misses 4 J at most, at each edge.
    assert reading.joules == pytest.approx(1.5 * BUILDING_W, abs=8)
    assert (reading.device, reading.source, reading.ticks) == ("GPU-a", "measured", ())


def built_for_a_second():
    now = time.monotonic_ns()
    return Made((now, now + SECOND))


def test_a_meter_that_reads_in_idle_time_only_tells_no_joules_of_a_build():
    (reading,) = started(over(Recorder("rapl")), built_for_a_second).build_devices
    assert reading.joules is None
    assert reading.reason == "its meter reads no joules while the engine works"


def test_what_the_guards_say_of_the_start_holds_for_the_build():
    (reading,) = started(over(Guarded("rapl")), built_for_a_second).build_devices
    assert reading.faults == ("another process is on the GPU: PID 4242",)


def test_an_engine_that_does_not_tell_when_it_began_to_build_has_no_joules_of_it():
    (reading,) = started(over(Recorder("rapl")), lambda: Made(None)).build_devices
    assert (reading.joules, reading.reason) == (None, "the engine does not tell when it began to build")


def test_an_engine_that_built_nothing_has_no_readings_of_it():
    made = Made(None, seconds=None)
    assert started(over(), lambda: made) is made
    assert made.build_devices == ()


def test_what_the_start_raises_comes_through():
    def start():
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        started(over(Recorder("cpu")), start)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
def test_no_engine_is_left_behind_where_its_meters_fail_after_the_start(fault):
    class Broken(Recorder):
        def end(self, start_ns, end_ns):
            raise fault

    made = Made((0, SECOND))
    with pytest.raises(fault):
        started(over(Broken("cpu")), lambda: made)
    assert made.killed
