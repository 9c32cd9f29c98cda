"""The simulated GPU judged by analytic truth, so that it may judge the meter."""

from __future__ import annotations

import ast
import math
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from simulated_counter import Counter, CounterSpec, Ticks
from simulated_gpu import ORIGIN_NS, GpuSpec, SimulatedGpu, VirtualClock, slow_call
from simulated_power import Glow, Idle, PowerCurve, Work

from pytest_lem.model.errors import MeterError

EVEN = CounterSpec(Ticks(0.1, 0.013))


def at(seconds: float) -> int:
    """An instant on the simulated GPU's clock, in ns."""
    return ORIGIN_NS + round(seconds * 1e9)


def gpu_with(counter: CounterSpec | None = EVEN, **spec) -> SimulatedGpu:
    return SimulatedGpu(GpuSpec(counter, **spec), seed=3)


def shown(spec: CounterSpec, t: float, watts: float = 100.0) -> float:
    """Joules that a counter over constant power shows at `t`."""
    return Counter(spec, PowerCurve([Idle(watts)])).millijoules(t) / 1000


# --- power ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "term",
    [
        Idle(90, drift_w_per_s=0.7, wave_w=3, wave_period_s=1.7, wave_phase=0.4),
        Work(0.31, 1.97, 400),
        Work(0.31, 1.97, 400, duty=0.41, period_s=0.1),
        Work(0.31, 1.97, 400, duty=0.25, period_s=0.33),
        Glow(0.31, 1.97, 40, tau_s=0.05),
        Glow(0.31, 1.97, 40, tau_s=2.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("span", [(0.0, 3.0), (0.35, 0.36), (0.9, 1.01), (1.9, 2.5), (-1.0, 0.2)], ids=str)
def test_joules_of_every_kind_of_power_equal_its_numerical_integral(term, span):
    curve = PowerCurve([term])
    edges = [0.31, 1.97] + [0.31 + k * p + d for p in (0.1, 0.33) for k in range(20) for d in (0, 0.41 * p, 0.25 * p)]
    cuts = [span[0], *sorted(e for e in edges if span[0] < e < span[1]), span[1]]
    numerical = sum(quad(curve.watts, a, b, limit=200)[0] for a, b in pairwise(cuts) if b > a)
    assert curve.joules(*span) == pytest.approx(numerical, rel=1e-6, abs=1e-6)


def test_bursts_of_41_ms_in_100_ms_take_41_percent_of_steady_work():
    bursts, steady = Work(0, 3, 500, duty=0.41), Work(0, 3, 500)
    assert PowerCurve([bursts]).joules(0, 3) == pytest.approx(0.41 * PowerCurve([steady]).joules(0, 3))


def test_power_after_work_decays_to_a_known_remainder():
    glow = Glow(0, 10, 40, tau_s=0.5)
    assert glow.watts(10.5) == pytest.approx(40 * math.exp(-1), rel=1e-6)
    assert PowerCurve([glow]).joules(10, 60) == pytest.approx(40 * 0.5, rel=1e-6)


def test_decays_of_two_works_add_up_and_never_pass_the_ceiling():
    curve = PowerCurve([Glow(0, 3, 40, 2.0), Glow(3, 6, 40, 2.0)])
    assert curve.watts(5.9) == pytest.approx(Glow(0, 6, 40, 2.0).watts(5.9))
    assert curve.watts(6) < 40


def test_true_joules_of_a_gpu_are_idle_plus_work():
    gpu = gpu_with(idle=Idle(100))
    gpu.work(at(1), at(2), 300, duty=0.5)
    assert gpu.true_joules(at(0.5), at(2.5)) == pytest.approx(2 * 100 + 150)


def test_work_in_the_past_is_refused():
    gpu = gpu_with()
    gpu.clock.advance_to(at(1))
    with pytest.raises(ValueError, match="before the clock"):
        gpu.work(at(0.5), at(2), 300)


# --- the counter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tick", [0.1, 0.05, 0.02])
def test_the_counter_moves_at_its_ticks_only_and_by_the_tick_s_joules(tick):
    counter = Counter(CounterSpec(Ticks(tick, 0.013)), PowerCurve([Idle(100)]))
    before, after = 0.013 + 9 * tick - 1e-9, 0.013 + 9 * tick + 1e-9
    assert counter.millijoules(after) - counter.millijoules(before) == pytest.approx(100 * tick * 1000, abs=1)
    assert counter.millijoules(after) == counter.millijoules(after + tick - 1e-6)


def test_an_even_counter_between_two_ticks_shows_the_true_joules_whatever_the_power_did():
    curve = PowerCurve([Idle(80, 0.5, 2, 3.0), Work(0.55, 1.61, 500, 0.41, 0.1), Glow(0.55, 1.61, 30, 0.2)])
    counter = Counter(EVEN, curve)
    counted = (counter.millijoules(2.0131) - counter.millijoules(0.3131)) / 1000
    assert counted == pytest.approx(curve.joules(0.313, 2.013), abs=0.002)


def test_lag_shows_the_power_of_an_earlier_time():
    curve = PowerCurve([Idle(0), Work(1.0, 9.0, 100)])
    lagging = Counter(CounterSpec(Ticks(0.1, 0.0), lag_s=0.03, offset_j=0), curve)
    assert lagging.millijoules(1.1001) == pytest.approx(100 * 0.07 * 1000, abs=1)


def test_a_part_time_counter_is_exact_for_constant_power():
    part = CounterSpec(Ticks(0.1, 0.0), part=0.25, part_from=0.5, offset_j=0)
    assert shown(part, 5.05) - shown(part, 1.05) == pytest.approx(400, abs=0.002)


@pytest.mark.parametrize(("part_from", "counted"), [(0.0, 0.0), (0.5, 40.0)])
def test_a_part_time_counter_sees_a_burst_only_where_it_looks(part_from, counted):
    """The burst fills 50..75 ms of the tick: 10 J; a 25 % counter sees none of it, or all of it four times over."""
    burst = PowerCurve([Work(1.05, 1.075, 400)])
    counter = Counter(CounterSpec(Ticks(0.1, 0.0), part=0.25, part_from=part_from, offset_j=0), burst)
    assert counter.millijoules(1.15) / 1000 == pytest.approx(counted, abs=0.002)


def test_a_part_time_counter_averages_out_over_evenly_spread_phases():
    errors = []
    for phase in range(40):
        curve = PowerCurve([Idle(80), Work(0.5 + phase * 0.0025, 1.5 + phase * 0.0025, 400, 0.41)])
        counter = Counter(CounterSpec(Ticks(0.1, 0.0), part=0.5, part_from=0.2), curve)
        errors.append((counter.millijoules(2.05) - counter.millijoules(0.25)) / 1000 - curve.joules(0.2, 2.0))
    assert max(abs(e) for e in errors) > 2.0
    assert sum(errors) / len(errors) == pytest.approx(0, abs=0.15)


def test_a_part_outside_the_tick_is_refused():
    with pytest.raises(ValueError, match="inside a tick"):
        CounterSpec(Ticks(0.1), part=0.5, part_from=0.6)


@given(seed=st.integers(0, 10_000), tick=st.sampled_from([0.02, 0.05, 0.1]), t=st.floats(0, 100))
@settings(max_examples=200, deadline=None)
def test_a_jittered_tick_stays_near_its_place_and_in_order(seed, tick, t):
    ticks = Ticks(tick, 0.3 * tick, jitter_s=0.4 * tick, seed=seed)
    n = ticks.last(t)
    assert ticks.time(n) <= t < ticks.time(n + 1)
    assert abs(ticks.time(n) - (0.3 * tick + n * tick)) <= 0.4 * tick


def test_jitter_moves_ticks_but_loses_no_joules():
    jittered = CounterSpec(Ticks(0.1, 0.05, jitter_s=0.01, seed=4), offset_j=0)
    assert {round(jittered.ticks.time(n + 1) - jittered.ticks.time(n), 4) for n in range(20)} != {0.1}
    assert shown(jittered, 50.0) - shown(jittered, 10.0) == pytest.approx(4000, abs=100 * 0.02)


def test_a_restart_falls_to_zero_and_counts_on():
    spec = CounterSpec(Ticks(0.1, 0.0), restarts=(2.05,))
    assert shown(spec, 2.04) == pytest.approx(1e6 + 190, abs=0.01)
    assert shown(spec, 2.06) == 0
    assert shown(spec, 3.05) == pytest.approx(100, abs=0.01)


def test_a_jump_steps_backwards_once():
    spec = CounterSpec(Ticks(0.1, 0.0), jumps=((2.05, -500.0),), offset_j=1000)
    assert shown(spec, 2.06) - shown(spec, 2.04) == pytest.approx(-500, abs=0.002)
    assert shown(spec, 3.05) - shown(spec, 2.06) == pytest.approx(100, abs=0.002)


def test_a_stuck_counter_stands_still_until_it_is_freed():
    spec = CounterSpec(Ticks(0.1, 0.0), stuck=((1.0, 4.0),))
    assert shown(spec, 1.0) == shown(spec, 3.99)
    assert shown(spec, 4.0) - shown(spec, 3.99) == pytest.approx(300, abs=0.1)


# --- calls and clock -----------------------------------------------------------------------------------------------


def test_energy_calls_take_3_ms_with_a_p99_of_17_ms():
    rng = random.Random(1)
    lengths = sorted(slow_call(rng) for _ in range(20_000))
    assert lengths[10_000] == pytest.approx(3e-3, abs=0.2e-3)
    assert lengths[19_800] == pytest.approx(17e-3, abs=3e-3)


def test_an_energy_call_moves_the_clock_and_shows_a_value_from_inside_itself():
    gpu = gpu_with(CounterSpec(Ticks(0.02, 0.0), offset_j=0), idle=Idle(1000))
    for _ in range(300):
        before = gpu.clock.seconds
        read = gpu.energy_mj() / 1000
        after = gpu.clock.seconds
        assert 2.6e-3 <= after - before <= 40e-3
        assert 1000 * (before - 0.04) <= read <= 1000 * after
    assert [call.name for call in gpu.calls] == ["energy_mj"] * 300


def test_some_calls_that_straddle_a_tick_see_it_and_some_do_not():
    seen = []
    for seed in range(200):
        gpu = SimulatedGpu(GpuSpec(CounterSpec(Ticks(0.1, 0.0015), offset_j=0), idle=Idle(100)), seed=seed)
        gpu.clock.advance_to(at(1.0))
        seen.append(gpu.energy_mj() > 95_000)
    assert 60 < sum(seen) < 160


def test_the_clock_wakes_late_but_never_early_and_never_runs_back():
    clock = VirtualClock(random.Random(2))
    for ms in range(1, 500):
        target = ORIGIN_NS + ms * 5_000_000
        clock.sleep_until_ns(target)
        assert target < clock.now_ns() <= target + 3_100_000
    now = clock.now
    clock.sleep_until_ns(ORIGIN_NS)
    clock.advance_to(ORIGIN_NS)
    assert clock.now == now


def test_the_same_seed_gives_the_same_readings():
    def readings() -> list[float]:
        gpu = gpu_with(CounterSpec(Ticks(0.1, 0.0, jitter_s=0.01, seed=2)))
        return [value for _ in range(50) for value in (gpu.energy_mj(), gpu.power_w())]

    assert readings() == readings()


# --- fields and facts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("averages", "rising"), [(False, 400.0), (True, 100 + 300 * 0.4)])
def test_the_instant_power_field_holds_its_value_between_refreshes(averages, rising):
    """Refreshes at 0.94, 1.04, ..., 2.04; work from 1.0 to 2.0: an average knows 40 ms of 100 of it at 1.04."""
    gpu = gpu_with(power_ticks=Ticks(0.1, 0.04), idle=Idle(100), noise_w=0.0, power_averages=averages)
    gpu.work(at(1.0), at(2.0), 300)
    told = []
    for second in (1.039, 1.041, 1.141, 2.039, 2.041, 2.141):
        gpu.clock.advance_to(at(second))
        told.append(gpu.power_w())
    falling = 100 + 300 * 0.6 if averages else 100.0
    assert told == pytest.approx([100, rising, 400, 400, falling, 100])


def test_noise_of_the_power_field_changes_at_a_refresh_only():
    gpu = gpu_with(power_ticks=Ticks(0.1, 0.0), idle=Idle(100), noise_w=0.5)
    values = []
    for n in range(400):
        gpu.clock.advance_to(at(1.0 + n * 0.1 + 0.01))
        values.append(gpu.power_w())
        assert gpu.power_w() == values[-1]
    mean = sum(values) / len(values)
    assert mean == pytest.approx(100, abs=0.1)
    assert math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)) == pytest.approx(0.5, abs=0.07)


def test_the_average_power_field_lags_a_load_step_by_its_second():
    gpu = gpu_with(power_ticks=Ticks(0.1, 0.0), idle=Idle(100))
    gpu.work(at(3.0), at(9.0), 400)
    gpu.clock.advance_to(at(3.501))
    assert gpu.average_power_w() == pytest.approx(300)
    gpu.clock.advance_to(at(4.001))
    assert gpu.average_power_w() == pytest.approx(500)


def test_a_card_without_a_counter_or_a_power_field_says_so():
    gpu = gpu_with(None, power_ticks=None)
    with pytest.raises(MeterError, match="no total-energy counter"):
        gpu.energy_mj()
    with pytest.raises(MeterError, match="does not tell its power"):
        gpu.power_w()


def test_processes_and_throttle_reasons_come_and_go():
    gpu = gpu_with(processes=((41, 1.0, 2.0), (42, 1.5, 9.0)), throttled=(("sw-thermal", 1.0, 2.0),))
    seen = []
    for second in (0.5, 1.7, 3.0):
        gpu.clock.advance_to(at(second))
        seen.append((gpu.process_ids(), gpu.state().throttle_reasons))
    assert seen == [((), ()), ((41, 42), ("sw-thermal",)), ((42,), ())]


def test_clock_and_temperature_follow_the_work():
    gpu = gpu_with(idle=Idle(100), sm_clocks_mhz=(345, 1980))
    gpu.work(at(1.0), at(30.0), 500)
    gpu.clock.advance_to(at(0.5))
    cold = gpu.state()
    gpu.clock.advance_to(at(29.0))
    warm = gpu.state()
    assert (cold.sm_clock_mhz, warm.sm_clock_mhz) == (345, 1980)
    assert (cold.temperature_c, warm.temperature_c) == (33, 58)


def test_the_simulator_shares_no_code_with_the_meter():
    for path in Path(__file__).parent.glob("simulated_*.py"):
        tree = ast.parse(path.read_text())
        modules = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        modules |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        assert {m for m in modules if m.startswith("pytest_lem")} <= {"pytest_lem.model.errors"}, path.name
