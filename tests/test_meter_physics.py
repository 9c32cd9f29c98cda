"""The GPU meter judged by simulated GPUs, whose every joule is known."""

from __future__ import annotations

import cmath
from functools import partial
from itertools import pairwise
from math import hypot
from statistics import fmean, pstdev

import project  # noqa: F401 - puts the project's root on the path
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from physics_cases import CASES, Draw, Load, beats
from physics_rounds import EVEN, ROUNDS, STEADY, Bench, bench_of, columns, hidden_joules, play_cycle, play_cycles
from simulated_counter import Counter, CounterSpec, Ticks
from simulated_gpu import ORIGIN_NS, GpuSpec, SimulatedGpu
from simulated_power import Glow, Idle, PowerCurve, Work

from benchmarks.physics.summary import MEAN, SINGLE, Row, cycle_mean, row
from pytest_lem.meters.nvml_meter import GpuMeter

QUICK_CYCLES, ALL_CYCLES = 16, 125
BURSTS = Load(extra_w=400.0, duty=0.41, period_s=0.1)
SEEDS = st.integers(0, 2**20)


def judged(name: str, seconds: float, cycles: int, factory=GpuMeter) -> Row:
    case = CASES[name]
    return row(columns(case, seconds, play_cycles(case, range(cycles), seconds, factory=factory)))


# --- the goals, case by case ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.0, 3.0])
@pytest.mark.parametrize("name", CASES)
def test_the_meter_reaches_its_goals_on_a_first_draw_of_every_case(name, seconds):
    assert judged(name, seconds, QUICK_CYCLES).failures == []


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.0, 3.0])
@pytest.mark.parametrize("name", CASES)
def test_the_meter_reaches_its_goals_over_a_thousand_windows_of_every_case(name, seconds):
    found = judged(name, seconds, ALL_CYCLES)
    assert found.windows >= 1000
    assert found.failures == []


@pytest.mark.parametrize(("seconds", "plain"), [(1.0, 0.05), (3.0, 0.015)])
def test_a_plain_counter_difference_fails_where_the_meter_does_not(seconds, plain):
    found = judged("even", seconds, QUICK_CYCLES)
    assert found.plain > plain
    assert found.plain > 20 * found.worst


def test_a_part_time_counter_misleads_single_windows_and_not_their_mean():
    found = judged("part", 1.0, QUICK_CYCLES)
    assert found.worst > 0.02
    assert found.mean_worst < 0.002


def test_bursts_in_step_with_a_part_time_counter_defeat_any_eight_phases():
    """Why `part-41ms` has no goal of its own: exact ticks, exact idle power and exact phases still miss 0.8 %."""
    errors = []
    for part in (0.28, 0.31, 0.35, 0.43):
        for shift in range(10):
            spec = CounterSpec(Ticks(0.1), part=part, part_from=0.1)
            errors.append(abs(fmean(_exact_error(spec, 1.03 + shift * 1.25e-3 + k * 0.0125) for k in range(8))))
    assert MEAN[3.0] < max(errors) < 0.03


def _exact_error(spec: CounterSpec, start: float, seconds: float = 3.0) -> float:
    curve = PowerCurve([Idle(100), Work(start, start + seconds, 400, 0.41, 0.1)])
    counter = Counter(spec, curve)
    counted = (counter.millijoules(4.501) - counter.millijoules(0.901)) / 1000
    idle = curve.joules(0.9, start) + curve.joules(start + seconds, 4.5)
    return (counted - idle) / curve.joules(start, start + seconds) - 1


def test_a_short_decay_after_the_work_hides_joules_from_every_meter():
    """Two GPUs that look alike to field 186 from its first clean period on, and differ in the joules before it."""
    clear = 0.1
    pairs = []
    for watts, tau in ((40.0, 0.06), (4.9, 2.0)):
        curve = PowerCurve([Glow(-60.0, 0.0, watts, tau)])
        pairs.append((curve.joules(clear, 2 * clear) / clear, curve.joules(0.0, clear)))
    (seen, short), (also_seen, long) = pairs
    assert seen == pytest.approx(also_seen, abs=1.0)
    assert (short - long) / 2 == pytest.approx(0.74, abs=0.05)
    gpu = SimulatedGpu(GpuSpec(EVEN, power_ticks=Ticks(0.1, 0.0), glow_w=40.0, glow_tau_s=0.06))
    assert hidden_joules(gpu, ORIGIN_NS + 1) == pytest.approx((short - long) / 2, rel=0.2)


def test_periods_called_out_of_step_are():
    assert min(beats(period, 0.1) for period in CASES["part-bursts"].periods_s) > 1.0
    assert beats(0.1, 0.1) == 0
    assert beats(0.15, 0.1) == pytest.approx(0)


# --- uncertainty ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.0, 3.0])
@pytest.mark.parametrize("name", ["even", "even-20ms", "jitter", "decay"])
def test_for_a_characterised_board_the_uncertainty_is_neither_too_small_nor_idle(name, seconds):
    """Without the term for uneven ticks the rest must hold alone: 93 % covered, and not three times too wide."""
    cycles = play_cycles(CASES[name], range(8), seconds, factory=partial(GpuMeter, phase_spread=0.0))
    windows = [window for cycle in cycles for window in cycle]
    misses = [(window.joules - window.truth) / window.std for window in windows]
    assert fmean(window.covered for window in windows) >= 0.93
    assert 0.35 < pstdev(misses) < 1.1
    assert abs(fmean(misses)) < 0.6


@pytest.mark.parametrize("name", ["even", "part"])
def test_the_uncertainty_before_characterisation_says_3_9_percent_of_two_ticks(name):
    """2 × 3.9 % of a tick's joules / √12: at 1 s, ticks being a tenth of it, 0.23 % of the window."""
    windows = play_cycle(CASES[name], 0, 1.0)
    assert fmean(window.std / window.joules for window in windows) == pytest.approx(0.0021, abs=0.0004)


def test_the_mean_s_interval_takes_the_larger_of_scatter_and_what_the_meter_says():
    scattered = cycle_mean([100.0] * 8, [96.0, 104.0] * 4, [0.1] * 8)
    calm = cycle_mean([100.0] * 8, [100.0] * 8, [2.0] * 8)
    assert scattered.half_width == pytest.approx(2.365 * 4 * (8 / 7) ** 0.5 / 8**0.5, rel=1e-3)
    assert calm.half_width == pytest.approx(2.365 * 2 / 8**0.5, rel=1e-3)
    assert cycle_mean([90.0] * 8, [100.0] * 8, [2.0] * 8).covered is False


@given(seed=SEEDS)
@settings(max_examples=15)
def test_edges_are_dated_at_the_true_ticks_as_well_as_they_say(seed):
    """Both may be shifted alike, for a tick tells of what was a few ms before it; their distance must be right."""
    bench = Bench(CASES["even"].draw(seed, 1.0), seed=seed)
    gpu = bench.draw.gpus[0]
    for phase in range(3):
        bench.play(phase)
        edges = (bench.readings[0].head, bench.readings[0].tail)
        ticks = [gpu.tick_before(edge.time_ns + 50_000_000) for edge in edges]
        assert [edge.joules for edge in edges] == [gpu.counter_joules(tick + 1_000) for tick in ticks]
        late = [edge.time_ns - tick for edge, tick in zip(edges, ticks, strict=True)]
        assert max(map(abs, late)) < 20_000_000
        assert abs(late[1] - late[0]) <= 4.5 * hypot(*(edge.time_std_ns for edge in edges))


# --- the window's shape --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["even", "even-50ms", "even-20ms"])
@given(seed=SEEDS)
@settings(max_examples=10)
def test_eight_rounds_start_an_eighth_of_an_h100_s_tick_apart_whatever_the_tick(name, seed):
    """Told by the true ticks: 12.5 ms steps, which also spread over ticks of 50 ms and 20 ms."""
    bench = Bench(CASES[name].draw(seed, 1.0), seed=seed)
    gpu, tick, turns = bench.draw.gpus[0], CASES[name].tick_s, []
    for k in range(ROUNDS):
        bench.play(k)
        start = bench.span[0]
        phase = (start - gpu.tick_before(start)) / 1e9 - k * 0.0125
        turns.append(cmath.exp(2j * cmath.pi * phase / tick))
    common = sum(turns) / abs(sum(turns))
    strays = [abs(cmath.phase(turn / common)) / (2 * cmath.pi) * tick for turn in turns]
    assert max(strays) < 8e-3
    assert fmean(strays) < 3e-3


@given(seed=SEEDS, name=st.sampled_from(sorted(CASES)))
@settings(max_examples=15)
def test_nobody_calls_a_gpu_while_it_works_and_never_too_often(seed, name):
    bench = Bench(CASES[name].draw(seed, 1.0), seed=seed)
    assert [bench.play(phase).calls_inside for phase in range(3)] == [0, 0, 0]
    for gpu in bench.draw.gpus:
        starts = [call.start_ns for call in gpu.calls if call.name == "energy_mj"]
        assert min(b - a for a, b in pairwise(starts)) >= 2_500_000
        assert len(starts) >= 6


@pytest.mark.parametrize("name", ["from-idle", "after-work", "jitter", "decay"])
def test_a_round_reads_the_counter_few_times_once_its_tick_is_known(name):
    """A read keeps a core busy for 1.5 ms: 28 of them are 1 % of a round of 4 s."""
    reads = 0
    for seed in range(10):
        bench = Bench(CASES[name].draw(seed, 1.0), seed=seed)
        bench.play(0)
        calls = bench.draw.gpus[0].calls
        known = len(calls)
        for phase in range(1, ROUNDS):
            bench.play(phase)
        reads += sum(call.name == "energy_mj" for call in calls[known:])
    assert reads / (10 * (ROUNDS - 1)) <= 28


@given(seed=SEEDS)
@settings(max_examples=20)
def test_the_window_lies_between_its_edges_with_room_for_a_lagging_counter(seed):
    bench = Bench(CASES["lag"].draw(seed, 1.0), seed=seed)
    bench.play(seed % 8)
    head, tail = bench.readings[0].head, bench.readings[0].tail
    start, end = bench.span
    assert head.time_ns + 25_000_000 <= start
    assert tail.time_ns >= end + 95_000_000


@pytest.mark.parametrize("place", range(20))
def test_work_that_ended_just_before_the_head_does_not_leak_into_the_window(place):
    """A counter 20 ms behind, and ticks at any place against the end of earlier work: 8 J a tick could leak."""
    lagging = CounterSpec(Ticks(0.1, 0.005 * place), lag_s=0.02)
    draw = Draw((SimulatedGpu(GpuSpec(lagging, idle=Idle(100)), seed=place),), (STEADY,), 1.0, hot=True)
    bench = Bench(draw, seed=place)
    assert max(abs(bench.play(phase).error) for phase in range(6)) < 0.005


@pytest.mark.parametrize("seconds", [0.3, 0.99])
def test_a_window_under_a_second_gets_a_reason_and_no_joules(seconds):
    bench = bench_of(seconds=seconds)
    bench.play(0)
    assert bench.readings[0].joules is None
    assert "shorter than 1 s" in bench.readings[0].reason
    assert bench.readings[0].source is None


def test_five_seconds_of_idle_are_measured_within_one_percent():
    found = bench_of(load=Load(0.0, 1.0, 0.1), seconds=5.0, idle=Idle(72)).play(0)
    assert found.truth == pytest.approx(360)
    assert found.joules == pytest.approx(found.truth, rel=0.01)
    assert found.faults == ()


# --- several GPUs --------------------------------------------------------------------------------------------------


@given(seed=SEEDS)
@settings(max_examples=15)
def test_every_gpu_is_windowed_by_its_own_ticks_and_is_right_by_itself(seed):
    bench = Bench(CASES["gpus"].draw(seed, 1.0), seed=seed)
    window = bench.play(0)
    start, end = bench.span
    assert [reading.device for reading in bench.readings] == [gpu.uuid for gpu in bench.draw.gpus]
    since_last = start - max(reading.head.time_ns for reading in bench.readings)
    assert since_last >= 25_000_000
    assert (since_last - 22_000_000) % 100_000_000 <= 16_000_000, "30 ms after the last head, or whole ticks later"
    for gpu, reading in zip(bench.draw.gpus, bench.readings, strict=True):
        assert reading.joules == pytest.approx(gpu.true_joules(start, end), rel=0.008)
        assert abs(reading.head.time_ns - gpu.tick_before(reading.head.time_ns + 50_000_000)) < 15_000_000
    assert window.joules == pytest.approx(window.truth, rel=SINGLE[1.0])


def test_polling_in_threads_gives_the_same_joules_as_one_after_the_other():
    def joules(parallel: bool) -> list[float | None]:
        bench = Bench(CASES["gpus"].draw(5, 1.0), seed=5, parallel=parallel)
        found = [bench.play(phase).joules for phase in range(3)]
        bench.meter.close()
        return found

    assert joules(parallel=True) == joules(parallel=False)


def test_a_gpu_without_counter_beside_one_with_does_not_disturb_it():
    with_it = SimulatedGpu(GpuSpec(EVEN), seed=1, uuid="GPU-with")
    without = SimulatedGpu(GpuSpec(None), seed=2, uuid="GPU-without")
    bench = Bench(Draw((with_it, without), (BURSTS, STEADY), 3.0))
    bench.play(0)
    assert [reading.method for reading in bench.readings] == ["counter", "power-integral"]
    truths = [gpu.true_joules(*bench.span) for gpu in (with_it, without)]
    assert bench.readings[0].joules == pytest.approx(truths[0], rel=SINGLE[3.0])
    assert bench.readings[1].joules == pytest.approx(truths[1], rel=0.04)
