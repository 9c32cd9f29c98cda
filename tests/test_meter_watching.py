"""Meters of a set read while the engine works, each in a thread of its own, in the host's real time."""

from __future__ import annotations

import time

import pytest

from pytest_lem.meters.nvml import NvmlState
from pytest_lem.meters.nvml_meter import GpuMeter
from pytest_lem.meters.registry import MeterSet
from pytest_lem.meters.trail import Mark, Trail
from pytest_lem.model.errors import MeterError
from pytest_lem.model.reading import DeviceReading, MeterDevice

SECOND = 1_000_000_000


class SteadyGpu:
    """A driver in real time: its counter ticks every 50 ms, always at the same power (W)."""

    mig = False

    def __init__(self, uuid, watts):
        self.uuid, self.name, self.watts = uuid, uuid, watts

    def energy_mj(self):
        time.sleep(0.001)
        ticks = time.monotonic_ns() // 50_000_000
        return round(self.watts * ticks * 50)

    def power_w(self):
        return self.watts

    def average_power_w(self):
        return self.watts

    def process_ids(self):
        return ()

    def state(self):
        return NvmlState(None, None, ())


class Recorder:
    """A meter of one device that keeps what it was asked, and what the `source` of its joules is."""

    def __init__(self, name, source="measured", joules=100.0):
        self.name, self.source, self.joules = name, source, joules

    def devices(self):
        return (MeterDevice(id=self.name, kind="cpu"),)

    def begin(self, phase):
        return time.monotonic_ns()

    def end(self, start_ns, end_ns):
        reading = DeviceReading(
            device=self.name, kind="cpu", meter=self.name, method="made up", source=self.source, joules=self.joules
        )
        return (reading,)

    def close(self):
        pass


class Watcher(Recorder):
    def watch(self, stopped):
        self.looks = 0
        while not stopped():
            self.looks += 1
            time.sleep(0.001)

    def trails(self):
        marks = (Mark(0, 0.0), Mark(10 * SECOND, 50.0))
        return (Trail(self.name, "cpu", self.name, "made up", marks=marks),)


class Broken(Watcher):
    def watch(self, stopped):
        raise MeterError("a bug of its own")


def watched(*meters):
    found = MeterSet(meters=meters)
    with found.watching():
        time.sleep(0.05)
    trails = found.trails(found.end(0, 10 * SECOND), 0, 10 * SECOND)
    found.close()
    return trails


def test_gpus_are_watched_side_by_side_and_agree_on_their_joules():
    gpus = [SteadyGpu("GPU-0", 100.0), SteadyGpu("GPU-1", 300.0)]
    meters = MeterSet(meters=(GpuMeter(gpus, own_pids=lambda: (1,), hidden_pids=False),))
    start = meters.begin(0)
    with meters.watching():
        time.sleep(max(0, start - time.monotonic_ns()) / 1e9 + 2.0)
    end = start + 2 * SECOND
    whole = meters.end(start, end)
    trails = meters.trails(whole, start, end)
    meters.close()
    assert [trail.device for trail in trails] == ["GPU-0", "GPU-1"]
    readings = [trail.reading(start + SECOND // 4, start + SECOND * 7 // 4) for trail in trails]
    assert [reading.joules for reading in readings] == pytest.approx([150.0, 450.0], rel=0.02)


def test_a_meter_without_watch_has_a_reason_and_the_others_their_joules():
    watcher, idle = watched(Watcher("a"), Recorder("b"))
    assert watcher.reading(SECOND, 3 * SECOND).joules == pytest.approx(10.0)
    assert idle.reading(SECOND, 3 * SECOND).reason == "its meter reads no joules while the engine works"


def test_an_estimate_is_spread_over_the_pass():
    (found,) = watched(Recorder("codecarbon", "estimated"))
    reading = found.reading(SECOND, 3 * SECOND)
    assert (reading.joules, reading.source) == (pytest.approx(20.0), "estimated")


def test_watching_ends_when_the_engine_fails():
    meter = Watcher("a")
    meters = MeterSet(meters=(meter,))
    with pytest.raises(RuntimeError, match="the engine died"), meters.watching():
        raise RuntimeError("the engine died")
    looks = meter.looks
    time.sleep(0.02)
    assert meter.looks == looks


def test_a_meter_that_raises_is_not_silent():
    with pytest.raises(MeterError, match="a bug of its own"):
        watched(Broken("a"))


def test_a_set_without_meters_watches_nothing():
    assert watched() == ()
