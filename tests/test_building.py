"""An engine that is built before it serves: the joules of the build, read while it starts."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from test_meter_watching import Recorder, SteadyGpu

from pytest_lem.building import started
from pytest_lem.meters.nvml_meter import GpuMeter
from pytest_lem.meters.registry import MeterSet

SECOND = 1_000_000_000
IDLE_W, BUILDING_W = 100.0, 400.0


class BuildingGpu(SteadyGpu):
    """Draws more from `begin_ns` to `end_ns`; its counter ticks every 50 ms."""

    begin_ns = end_ns = 0

    def energy_mj(self):
        time.sleep(0.001)
        tick = time.monotonic_ns() // 50_000_000 * 50_000_000
        building = min(max(tick, self.begin_ns), self.end_ns) - self.begin_ns
        return round((IDLE_W * tick + (BUILDING_W - IDLE_W) * building) / 1e6)


def engine(span):
    return SimpleNamespace(build_span=span)


def test_the_joules_of_a_build_are_those_of_its_own_time_within_the_start():
    gpu = BuildingGpu("GPU-a", IDLE_W)

    def start():
        time.sleep(0.3)
        gpu.begin_ns = time.monotonic_ns()
        gpu.end_ns = gpu.begin_ns + round(1.5 * SECOND)
        time.sleep(2.0)
        return engine((gpu.begin_ns, gpu.end_ns))

    with MeterSet(meters=(GpuMeter([gpu], hidden_pids=False),)) as meters:
        _, (reading,) = started(meters, start)
    # 400 W for 1.5 s; a tick of 50 ms is 15 J of what the build draws more.
    assert reading.joules == pytest.approx(1.5 * BUILDING_W, abs=15)
    assert (reading.device, reading.source, reading.ticks) == ("GPU-a", "measured", ())


def test_a_meter_that_reads_in_idle_time_only_tells_no_joules_of_a_build():
    def start():
        now = time.monotonic_ns()
        return engine((now, now + SECOND))

    with MeterSet(meters=(Recorder("rapl"),)) as meters:
        _, (reading,) = started(meters, start)
    assert reading.joules is None
    assert reading.reason == "its meter reads no joules while the engine works"


def test_an_engine_that_built_nothing_has_no_readings_of_it():
    made = engine(None)
    with MeterSet() as meters:
        assert started(meters, lambda: made) == (made, ())


def test_what_the_start_raises_comes_through_and_the_meters_rest():
    def start():
        raise RuntimeError("no memory")

    meter = Recorder("cpu")
    with MeterSet(meters=(meter,)) as meters, pytest.raises(RuntimeError, match="no memory"):
        started(meters, start)
