"""The GPU meter on GPUs that break, lack a sensor or are not alone: a reason or a fault, never a number in silence."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from physics_rounds import EVEN, ROUNDS, Bench, Window, bench_of
from simulated_counter import CounterSpec, Ticks
from simulated_gpu import seconds_of
from simulated_power import Idle

SEEDS = st.integers(0, 2**20)


def told(window: Window) -> str:
    return "; ".join(window.faults)


# --- broken counters --------------------------------------------------------------------------------------------


def rounds_with(counter: CounterSpec, seed: int = 0, **spec) -> tuple[Bench, list[Window]]:
    """Three rounds of a second each, about 1.35 s apart, the first beginning around 0.05 s."""
    bench = bench_of(counter, seed=seed, **spec)
    return bench, [bench.play(phase) for phase in range(3)]


def honest(window: Window) -> bool:
    """Right, or said to be wrong."""
    return bool(window.faults) or window.joules is None or abs(window.error) <= 0.006


@given(at=st.floats(0.05, 4.0), seed=SEEDS)
@settings(max_examples=30)
def test_a_counter_that_restarts_at_any_instant_is_never_believed_in_silence(at, seed):
    _, windows = rounds_with(CounterSpec(Ticks(0.1, 0.037), restarts=(at,)), seed)
    assert all(honest(window) for window in windows)


@given(share=st.floats(0.0, 1.0), seed=SEEDS)
@settings(max_examples=15)
def test_a_counter_that_restarts_inside_the_window_makes_the_round_invalid(share, seed):
    plain = bench_of(EVEN, seed=seed)
    plain.play(0)
    start, end = (seconds_of(instant) for instant in plain.span)
    bench = bench_of(CounterSpec(EVEN.ticks, restarts=(start + share * (end - start),)), seed=seed)
    assert "backwards" in told(bench.play(0))
    assert bench.play(1).faults == ()


@given(at=st.floats(0.05, 4.0), back=st.floats(800, 1e5), seed=SEEDS)
@settings(max_examples=30)
def test_a_counter_that_steps_back_by_more_than_a_window_is_never_believed_in_silence(at, back, seed):
    _, windows = rounds_with(CounterSpec(Ticks(0.1, 0.037), jumps=((at, -back),)), seed)
    assert all(honest(window) for window in windows)


@given(wait=st.floats(0.045, 0.095), back=st.floats(60, 500), seed=SEEDS)
@settings(max_examples=15)
def test_a_small_step_back_after_the_work_is_seen_too(wait, back, seed):
    """It hides in the joules of the window: only who looks at every reading finds it.

    Less than a tick of work, 50 J, hides even from him, since he reads but twice a tick; so does a step before his
    first reading, which may take 40 ms.
    """
    sound = bench_of(EVEN, seed=seed)
    sound.play(0)
    at = seconds_of(sound.span[1]) + wait
    bench = bench_of(CounterSpec(EVEN.ticks, jumps=((at, -back),)), seed=seed)
    assert "backwards" in told(bench.play(0))


@given(begin=st.floats(0.0, 3.5), length=st.floats(0.25, 5.0), seed=SEEDS)
@settings(max_examples=30)
def test_a_counter_that_sticks_for_a_while_is_never_believed_in_silence(begin, length, seed):
    _, windows = rounds_with(CounterSpec(Ticks(0.1, 0.037), stuck=((begin, begin + length),)), seed)
    assert all(honest(window) for window in windows)


@pytest.mark.parametrize("begin", [0.0, 0.6])
def test_a_counter_that_sticks_for_good_makes_every_round_from_there_on_invalid(begin):
    bench, windows = rounds_with(CounterSpec(Ticks(0.1, 0.037), stuck=((begin, 1e9),)))
    assert ["still" in told(window) for window in windows] == [True, True, True]
    assert [window.joules for window in windows] == [None, None, None]
    assert "still" in bench.readings[0].reason


def test_a_counter_that_lost_the_work_is_told_from_one_that_measured():
    """It goes on ticking but shows less than idle for the time that the GPU worked."""
    start, _ = (seconds_of(instant) for instant in _span_of_first_round())
    lost = CounterSpec(EVEN.ticks, jumps=((start + 0.5, -480.0),))
    assert "still" in told(bench_of(lost).play(0))


def _span_of_first_round() -> tuple[int, int]:
    bench = bench_of()
    bench.play(0)
    return bench.span


# --- cards without a counter ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "worst"), [(1.0, 0.12), (3.0, 0.04)])
def test_a_card_without_a_counter_is_measured_by_its_power_and_says_so(seconds, worst):
    covered = []
    for seed in range(40):
        power = Ticks(0.1, 0.0025 * seed)
        bench = bench_of(None, seconds=seconds, seed=seed, power_ticks=power, glow_w=20.0, glow_tau_s=0.3)
        window = bench.play(seed)
        reading = bench.readings[0]
        assert (reading.method, reading.source) == ("power-integral", "measured")
        assert abs(window.error) <= worst
        covered.append(window.covered)
    assert fmean(covered) >= 0.93


def test_a_card_without_counter_and_power_field_has_no_joules_but_a_reason():
    bench = bench_of(None, power_ticks=None)
    bench.play(0)
    assert bench.readings[0].joules is None
    assert "does not tell its power" in bench.readings[0].reason


def test_a_card_with_a_counter_and_no_power_field_is_measured_all_the_same():
    windows = [bench_of(power_ticks=None, seed=seed).play(seed % 8) for seed in range(12)]
    assert max(abs(window.error) for window in windows) <= 0.01


# --- guards --------------------------------------------------------------------------------------------------------


def test_another_process_on_the_gpu_makes_the_round_invalid():
    alone = bench_of()
    alone.play(0)
    arrives = alone.draw.gpus[0].clock.seconds + 0.001
    bench = bench_of(processes=((1, 0.0, 99.0), (4711, arrives, 99.0)))
    faults = [told(bench.play(phase)) for phase in range(3)]
    assert ["4711" in fault for fault in faults] == [False, True, True]


def test_our_own_process_is_no_stranger():
    assert bench_of(processes=((1, 0.0, 99.0),)).play(0).faults == ()


@pytest.mark.parametrize("reason", ["hw_slowdown", "sw_thermal", "power_brake"])
def test_a_gpu_that_was_slowed_down_makes_the_round_invalid(reason):
    assert reason in told(bench_of(throttled=((reason, 0.0, 99.0),)).play(0))


def test_a_gpu_that_is_not_idle_before_the_start_makes_the_round_invalid():
    bench = bench_of()
    gpu = bench.draw.gpus[0]
    assert bench.play(0).faults == ()
    gpu.work(gpu.clock.now, gpu.clock.now + 9_000_000_000, 300.0)
    assert "idle" in told(bench.play(1))


def test_an_idle_that_only_decays_or_changes_its_clocks_is_still_idle():
    bench = bench_of(glow_w=40.0, glow_tau_s=2.0, idle=Idle(110, wave_w=3.0))
    assert [bench.play(phase).faults for phase in range(ROUNDS)] == [()] * ROUNDS


def test_joules_of_a_gpu_in_mig_mode_are_said_to_be_shared():
    bench = bench_of(mig=True)
    window = bench.play(0)
    assert "MIG" in "; ".join(bench.readings[0].notes)
    assert window.faults == ()
