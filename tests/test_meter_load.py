"""The GPU meter while the GPU works: joules between ticks, against simulated GPUs whose every joule is known."""

from __future__ import annotations

import random
from functools import cache
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_counter import CounterSpec, Ticks
from simulated_gpu import GpuSpec, SimulatedGpu
from simulated_power import Idle

from pytest_lem.meters.nvml_meter import GpuMeter
from pytest_lem.meters.trail import common_edges

SECOND = 1_000_000_000
LONG = 14.0
SEEDS = range(24)
EVEN = (1.0, 1.0)
H100 = (0.97, 0.98)
"""A counter that overlooks 2.5 ms of 100 puts bursts of 41 ms every 100 ms 3.9 % apart, by their phase: an H100's."""
PART = (0.25, 0.75)


def a_gpu(rng, *, part=(1.0, 1.0), lag_s=0.01, jitter_s=2e-3, tick_s=0.1, index=0, **spec):
    seen = rng.uniform(*part)
    counter = CounterSpec(
        Ticks(tick_s, rng.uniform(0, tick_s), jitter_s, seed=rng.randrange(2**32)),
        lag_s=rng.uniform(0, lag_s),
        part=seen,
        part_from=rng.uniform(0, 1 - seen),
    )
    known = {"idle": Idle(rng.uniform(72, 135)), "glow_w": 20.0, **spec}
    return SimulatedGpu(GpuSpec(counter, **known), seed=rng.randrange(2**32), uuid=f"GPU-{index}")


def serve(gpu, start, end, rng):
    """A served load: decoding whose steps last as many requests are in flight, and prefills as they come."""
    at, watts = start, rng.uniform(150, 350)
    while at < end:
        until = min(at + int(rng.expovariate(2) * SECOND) + 1, end)
        gpu.work(at, until, watts * rng.uniform(0.8, 1), duty=rng.uniform(0.7, 1), period_s=rng.uniform(0.012, 0.04))
        at = until
    at = start
    while (at := at + int(rng.expovariate(5) * SECOND)) < end:
        gpu.work(at, min(at + int(rng.uniform(0.02, 0.15) * SECOND), end), rng.uniform(50, 250))


class Pass:
    """One pass of traffic on these GPUs: the meter over them, the edges that all agree on, and each one's reading."""

    def __init__(self, gpus, rng, seconds=LONG):
        clocks = [gpu.clock for gpu in gpus]
        self.meter = GpuMeter(gpus, clocks=clocks, parallel=False, hidden_pids=False, own_pids=lambda: (1,))
        start = self.meter.begin(0)
        end = start + int(seconds * SECOND)
        for gpu in gpus:
            gpu.clock.advance_to(start)
            serve(gpu, start, end, rng)
        # Without threads the GPUs are watched one after the other, each in its own time.
        for channel, clock in zip(self.meter._channels, clocks, strict=True):
            channel.watch(lambda clock=clock: clock.now_ns() >= end)
        self.whole = self.meter.end(start, end)
        self.trails = self.meter.trails()
        # What a served load gives: a ramp of a second, and a steady time that ends a second before the engine does.
        self.edges = common_edges(self.trails, start + SECOND, end - SECOND)
        self.readings = [trail.reading(*self.edges) for trail in self.trails]
        self.truths = [gpu.true_joules(*self.edges) for gpu in gpus]
        self.span = (start, end)


@cache
def errors(part):
    found = []
    for seed in SEEDS:
        rng = random.Random(seed)
        done = Pass([a_gpu(rng, part=part)], rng)
        (reading,), (truth,) = done.readings, done.truths
        found.append(((reading.joules - truth) / truth, reading.std / truth))
    return found


@pytest.mark.parametrize(("part", "worst"), [(EVEN, 0.001), (H100, 0.005)])
def test_twelve_seconds_of_a_served_load_are_right_to_a_half_percent(part, worst):
    found = errors(part)
    assert max(abs(error) for error, _ in found) < worst
    assert abs(fmean(error for error, _ in found)) < 0.0005


def test_a_counter_that_overlooks_most_of_each_tick_is_right_on_the_mean_alone():
    found = errors(PART)
    assert abs(fmean(error for error, _ in found)) < 0.003
    assert max(abs(error) for error, _ in found) > 0.01


@pytest.mark.parametrize("part", [EVEN, H100])
def test_what_the_meter_says_it_does_not_know_covers_what_it_is_off(part):
    found = errors(part)
    covered = sum(abs(error) <= 1.96 * std for error, std in found)
    assert covered >= 0.93 * len(found)
    assert fmean(std for _, std in found) < 0.005


def test_the_window_from_tick_to_tick_agrees_with_the_pass_from_idle_to_idle():
    rng = random.Random(7)
    gpu = a_gpu(rng)
    done = Pass([gpu], rng)
    assert done.whole[0].joules == pytest.approx(gpu.true_joules(*done.span), rel=0.005)
    assert done.whole[0].faults == ()


def test_gpus_with_ticks_of_their_own_agree_on_one_window():
    for seed in range(10):
        rng = random.Random(seed)
        done = Pass([a_gpu(rng, index=0), a_gpu(rng, index=1), a_gpu(rng, index=2, tick_s=0.05)], rng)
        assert [reading.device for reading in done.readings] == ["GPU-0", "GPU-1", "GPU-2"]
        for reading, truth in zip(done.readings, done.truths, strict=True):
            assert reading.joules == pytest.approx(truth, rel=0.006)
            assert (reading.head.time_ns, reading.tail.time_ns) == done.edges


@given(seed=st.integers(0, 2**20), tick_s=st.sampled_from((0.02, 0.05, 0.1)), slow=st.floats(0.5, 2.0))
@settings(max_examples=25)
def test_joules_between_ticks_are_known_for_any_counter_and_any_load(seed, tick_s, slow):
    rng = random.Random(seed)
    done = Pass([a_gpu(rng, tick_s=tick_s, jitter_s=tick_s / 50, slow=slow)], rng, seconds=6.0)
    (reading,), (truth,) = done.readings, done.truths
    assert reading.joules == pytest.approx(truth, rel=0.01)
    assert abs(reading.joules - truth) < 4 * reading.std + 0.001 * truth


def test_every_tick_is_kept_and_the_counter_is_asked_three_times_for_one():
    rng = random.Random(3)
    gpu = a_gpu(rng, lag_s=0.0)
    done = Pass([gpu], rng)
    start, end = done.span
    calls = sum(call.name == "energy_mj" and start <= call.start_ns < end for call in gpu.calls)
    (reading,) = done.readings
    inside = [time for time, _ in reading.ticks if start <= time <= end]
    assert 130 <= len(inside) <= 141
    assert calls <= 3.6 * 140


def test_a_counter_that_stands_still_under_load_makes_the_pass_invalid():
    rng = random.Random(4)
    gpu = SimulatedGpu(GpuSpec(CounterSpec(Ticks(0.1, 0.04), stuck=((4.0, 6.5),)), idle=Idle(100)), seed=4)
    done = Pass([gpu], rng)
    assert done.trails[0].faults == ("the energy counter stood still while the engine worked",)


def test_a_counter_that_runs_backwards_under_load_makes_the_pass_invalid():
    rng = random.Random(5)
    gpu = SimulatedGpu(GpuSpec(CounterSpec(Ticks(0.1, 0.04), jumps=((5.0, -50.0),)), idle=Idle(100)), seed=5)
    done = Pass([gpu], rng)
    assert "the energy counter ran backwards while the engine worked" in done.trails[0].faults
