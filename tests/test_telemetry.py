"""Telemetry of simulated GPUs whose power, clocks and work are known: what a window comes to, and what is missing."""

from __future__ import annotations

import sys
import threading
import time
from itertools import count
from types import SimpleNamespace

import pytest
from fake_pynvml import FakeGpu, fake_pynvml
from hypothesis import given
from hypothesis import strategies as st
from simulated_counter import CounterSpec, Ticks
from simulated_gpu import GpuSpec, SimulatedGpu

from pytest_lem.meters import nvml
from pytest_lem.meters import telemetry as module
from pytest_lem.meters.counter import Counter
from pytest_lem.meters.device_use import UNSEEN, device_use, timeline
from pytest_lem.meters.gauges import AVERAGED, SHARED, SLOWER, SLOWEST, Gauges
from pytest_lem.meters.load_watch import LoadWatch
from pytest_lem.meters.moments import Moment, Track
from pytest_lem.meters.nvml_meter import GpuMeter
from pytest_lem.meters.pace import strides
from pytest_lem.meters.registry import MeterSet
from pytest_lem.meters.telemetry import HUNG, Telemetry
from pytest_lem.meters.tick_train import TickTrain
from pytest_lem.model.errors import MeterError
from pytest_lem.model.telemetry import ACTIVITY, BY_KEY, GAUGES

GPU = "GPU-aaaa1111-0"
MS, SECOND = 1_000_000, 1_000_000_000
GPM_TOLD = {"sm_active": 0.75, "dram_active": 0.2}


def simulated(**changes) -> SimulatedGpu:
    spec = GpuSpec(**{"counter": CounterSpec(Ticks(0.1, 0.03)), "noise_w": 0.0} | changes)
    return SimulatedGpu(spec, seed=1, uuid=GPU)


def sampled(*gpus, seconds: float = 4.0, busy: float = 1.0, extra_w: float = 300.0, hertz: float = 20.0):
    """A window in which each GPU works for the first `busy` share of it; telemetry that watched, and the window."""
    telemetry = Telemetry(gpus, hertz, clocks=[gpu.clock for gpu in gpus])
    start = max(gpu.clock.now for gpu in gpus) + 10 * MS
    end = start + round(seconds * SECOND)
    for gpu in gpus:
        gpu.work(start, start + round(busy * seconds * SECOND), extra_w)
    play(telemetry, *gpus, start=start, end=end, hertz=hertz)
    return telemetry, start, end


def unpaced(telemetry: Telemetry) -> Telemetry:
    """The same, at the beginning of a window: what a busy host lets readings take is not what is tested here."""
    for track in telemetry.tracks:
        track.share = 1.0
    telemetry.restart()
    return telemetry


def play(telemetry, *gpus, start, end, hertz=20.0) -> None:
    unpaced(telemetry)
    for due in range(start, end, round(SECOND / hertz)):
        for gpu in gpus:
            gpu.clock.advance_to(due)
        telemetry.sample()


def test_a_window_of_known_work_comes_to_its_power_clock_memory_and_activity():
    gpu = simulated(sm_clocks_mhz=(345, 1980), throttled=(("sw_power_cap", 0.0, 1e9),))
    telemetry, start, end = sampled(gpu, seconds=4.0)

    (use,) = telemetry.use(start, end)

    watts = [gpu.true_watts(start + step * SECOND // 10) for step in range(1, 40)]
    assert use.device == GPU
    assert use.gauges["power_w"].p95 == pytest.approx(max(watts), rel=0.01)
    assert use.gauges["power_w"].mean == pytest.approx(sum(watts) / len(watts), rel=0.005)
    assert (use.gauges["sm_clock_mhz"].min, use.gauges["sm_clock_mhz"].mean) == (1980, 1980)
    assert use.gauges["memory_used_bytes"].max == 8 * 2**30
    assert use.gauges["gpu_utilization"].mean == 1.0
    assert use.gauges["sm_active"].mean == pytest.approx(0.75)
    assert use.gauges["dram_active"].mean == pytest.approx(0.2)
    assert use.throttle_reasons == {"sw_power_cap": 1.0}
    assert use.samples == 80
    assert use.hertz == pytest.approx(20.0, rel=0.01)


def test_a_gpu_that_works_half_of_the_window_was_half_as_active_and_its_clock_fell():
    gpu = simulated(sm_clocks_mhz=(345, 1980))
    telemetry, start, end = sampled(gpu, seconds=4.0, busy=0.5)

    (use,) = telemetry.use(start, end)

    # 5 Hz from 0.2 s on: the first reading only begins, the last 0.2 s of idle time have none. The counters are 0.12 s
    # late: what they tell of began at 0.08 s.
    assert use.gauges["sm_active"].n == 18
    assert use.gauges["sm_active"].mean == pytest.approx(0.75 * 1.92 / 3.6, rel=0.01)
    assert (use.gauges["sm_active"].min, use.gauges["sm_active"].max) == (0.0, pytest.approx(0.75))
    assert (use.gauges["sm_clock_mhz"].min, use.gauges["sm_clock_mhz"].max) == (345, 1980)
    assert use.gauges["sm_clock_mhz"].mean == pytest.approx((345 + 1980) / 2, rel=0.02)


def test_only_what_was_told_inside_the_window_counts():
    gpu = simulated(sm_clocks_mhz=(345, 1980))
    telemetry, start, end = sampled(gpu, seconds=4.0, busy=0.5)

    (work,) = telemetry.use(start, start + 2 * SECOND - 1)
    (idle,) = telemetry.use(start + 2 * SECOND + 10 * MS, end)

    assert work.gauges["sm_active"].mean == pytest.approx(0.75)
    assert work.gauges["sm_clock_mhz"].min == 1980
    assert idle.gauges["sm_clock_mhz"].max == 345
    # What stands for a time that began before the window is of no use for it.
    assert idle.gauges["sm_active"].max == 0.0


@pytest.mark.parametrize("late_s", [0.0, 0.05, 0.12, 0.2])
def test_idle_time_before_the_work_is_in_no_mean_of_its_window_however_late_the_gpu_tells(late_s):
    gpu = simulated(activity_late_s=late_s)
    telemetry, start, end = sampled(gpu, seconds=1.03)

    (use,) = telemetry.use(start, end)

    watts = [gpu.true_watts(start + step * SECOND // 100) for step in range(1, 103)]
    active, power = use.gauges["sm_active"], use.gauges["power_w"]
    assert (active.min, active.mean, active.n) == (pytest.approx(0.75), pytest.approx(0.75), 4)
    assert power.mean == pytest.approx(sum(watts) / len(watts), rel=0.005)
    assert power.min == pytest.approx(min(watts), rel=0.005)
    assert use.gauges["gpu_utilization"].min == 1.0


def test_power_that_is_a_mean_over_a_second_counts_from_when_its_second_lies_in_the_window():
    gpu = simulated(lacks=frozenset({"power_w"}))
    telemetry, start, end = sampled(gpu, seconds=4.0)
    (use,) = telemetry.use(start, end)
    watts = [gpu.true_watts(start + step * SECOND // 10) for step in range(1, 40)]
    assert use.gauges["power_w"].mean == pytest.approx(sum(watts) / len(watts), rel=0.005)

    telemetry, start, end = sampled(simulated(lacks=frozenset({"power_w"})), seconds=1.0)
    (use,) = telemetry.use(start, end)
    assert (use.gauges["power_w"].mean, use.gauges["power_w"].reason) == (None, UNSEEN)


def test_the_timeline_keeps_what_the_summary_leaves_out():
    telemetry, start, end = sampled(simulated(), seconds=1.0)
    (told,) = telemetry.timelines(start, end)
    assert None not in told.values["power_w"]
    assert told.values["power_w"][0] < 0.5 * told.values["power_w"][-1], "the idle time before the work"


def test_several_gpus_have_a_summary_each():
    one, other = simulated(), SimulatedGpu(GpuSpec(counter=None, activity={"sm_active": 0.1}), seed=2, uuid="GPU-b")
    telemetry, start, end = sampled(one, other)

    first, second = telemetry.use(start, end)

    assert (first.device, second.device) == (GPU, "GPU-b")
    assert first.gauges["sm_active"].mean == pytest.approx(0.75)
    assert second.gauges["sm_active"].mean == pytest.approx(0.1)


def test_a_card_without_gpm_tells_the_rest_and_why_the_activity_is_absent():
    telemetry, start, end = sampled(simulated(activity=None))

    (use,) = telemetry.use(start, end)

    for key in ACTIVITY:
        assert (use.gauges[key].mean, use.gauges[key].n) == (None, 0)
        assert use.gauges[key].reason == "GPM: the card has none"
    assert use.gauges["sm_clock_mhz"].n == 80


def test_what_a_card_lacks_is_null_with_its_reason_and_is_not_asked_again():
    gpu = simulated(lacks=frozenset({"utilization", "throttle_reasons"}))
    telemetry = Telemetry([gpu], clocks=[gpu.clock])
    gpu.calls.clear()
    start = gpu.clock.now
    play(telemetry, gpu, start=start, end=start + SECOND)

    (use,) = telemetry.use(start, start + SECOND)

    assert use.gauges["gpu_utilization"].mean is None
    assert use.gauges["gpu_utilization"].reason == "utilization: Not Supported"
    assert use.throttle_reasons is None
    assert {call.name for call in gpu.calls} & {"utilization", "throttle_reasons"} == set()


def test_a_card_without_the_instant_power_field_tells_its_average_and_says_so():
    gpu = simulated(lacks=frozenset({"power_w"}))
    telemetry, start, end = sampled(gpu)

    (use,) = telemetry.use(start, end)

    assert use.notes == (AVERAGED,)
    assert use.gauges["power_w"].n == 58  # of 80: the second before the first of these lies inside the window


def test_a_gpu_that_is_shared_by_mig_says_that_it_tells_of_the_whole():
    telemetry, start, end = sampled(simulated(mig=True))
    assert telemetry.use(start, end)[0].notes == (SHARED,)


def test_a_driver_that_fails_midway_keeps_what_it_told_and_says_why_it_ended():
    gpu = simulated(lost_at_s=2.0)
    telemetry, start, end = sampled(gpu, seconds=4.0)

    (use,) = telemetry.use(start, end)

    lost = (2 * SECOND - (start - (gpu.clock.now - round(gpu.clock.seconds * SECOND)))) // (50 * MS)
    assert use.gauges["memory_used_bytes"].n == pytest.approx(lost, abs=1)
    assert use.gauges["power_w"].mean is not None
    assert use.gauges["power_w"].reason == "power_w: GPU is lost"
    assert use.gauges["sm_active"].reason == "gpm: GPU is lost"


def test_a_driver_that_fails_is_asked_once_more_in_each_window_and_may_come_back():
    gpu = simulated(lost_at_s=2.0)
    telemetry, start, end = sampled(gpu, seconds=4.0)
    gpu.calls.clear()
    play(telemetry, gpu, start=end, end=end + SECOND)
    asked = [call.name for call in gpu.calls]
    assert asked.count("power_w") == asked.count("memory_used") == 1

    gpu.spec = GpuSpec(counter=None)  # the driver answers again
    start, end = gpu.clock.now, gpu.clock.now + SECOND
    play(telemetry, gpu, start=start, end=end)
    (use,) = telemetry.use(start, end)
    assert (use.gauges["memory_used_bytes"].n, use.gauges["power_w"].reason) == (20, None)


@pytest.mark.parametrize("error", [IndexError("list index out of range"), AttributeError("no such function")])
def test_a_driver_that_fails_in_a_way_nobody_foresaw_loses_that_reading_alone_and_says_why(error, monkeypatch):
    gpu = simulated()

    def fails():
        raise error

    monkeypatch.setattr(gpu, "utilization", fails)  # from the beginning on
    telemetry = Telemetry([gpu], 100.0)
    monkeypatch.setattr(gpu, "temperature_c", fails)  # once it has been found to answer
    start = time.monotonic_ns()
    with telemetry.sampling(start):
        while not telemetry.tracks[0].moments:
            time.sleep(0.01)
        seen = len(telemetry.tracks[0].moments)
        for _ in range(500):
            if len(telemetry.tracks[0].moments) > seen:
                break
            time.sleep(0.01)
    (use,) = telemetry.use(start, time.monotonic_ns())
    assert use.samples > 1, "the thread goes on"
    for key in ("gpu_utilization", "temperature_c"):
        assert (use.gauges[key].mean, use.gauges[key].reason) == (None, f"{type(error).__name__}: {error}")
    assert use.gauges["sm_clock_mhz"].mean == 1980


def test_a_driver_that_never_answers_costs_the_round_nothing_but_its_telemetry(monkeypatch):
    monkeypatch.setattr(module, "_GONE_S", 0.05)
    gpu, answer = simulated(activity=None), threading.Event()
    telemetry = Telemetry([gpu])
    monkeypatch.setattr(gpu, "memory_used", lambda: answer.wait(30))
    start = time.monotonic_ns()
    with telemetry.sampling(start):
        time.sleep(0.02)
    (use,) = telemetry.use(start, time.monotonic_ns())
    assert use.reason == HUNG

    with telemetry.sampling(time.monotonic_ns()):
        assert len(alive()) == 1  # the one that hangs
    telemetry.close()
    answer.set()


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lem-telemetry"]


def test_ctrl_c_while_the_thread_starts_leaves_none_behind(monkeypatch):
    telemetry, start = Telemetry([simulated()], 100.0), threading.Thread.start

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), telemetry.sampling(time.monotonic_ns()):
        pass
    assert alive() == []


def test_ctrl_c_while_the_driver_is_asked_leaves_it_what_it_was_given(monkeypatch):
    gpu, asked, answer = simulated(), threading.Event(), threading.Event()
    counters, join = gpu.gpm(), threading.Thread.join
    gpu.gpm = lambda: counters
    telemetry = Telemetry([gpu], 100.0)
    monkeypatch.setattr(gpu, "memory_used", lambda: asked.set() or answer.wait(30))

    def interrupted(thread, timeout=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt), telemetry.sampling(time.monotonic_ns()):
        asked.wait(10)
    telemetry.close()
    assert not counters.closed, "the thread may be reading them just now"

    answer.set()
    for thread in alive():
        join(thread, 10)
    assert alive() == []


def test_the_thread_samples_from_the_start_on_and_is_gone_when_the_block_ends(monkeypatch):
    gpu, asking = simulated(), threading.Event()
    telemetry, asked = Telemetry([gpu], 100.0), []
    monkeypatch.setattr(gpu, "power_w", lambda: asked.append(time.monotonic_ns()) or 300.0)
    monkeypatch.setattr(gpu, "memory_used", lambda: asking.set() or time.sleep(0.1) or 1)
    start = time.monotonic_ns() + 100 * MS
    with telemetry.sampling(start):
        while len(telemetry.tracks[0].moments) < 2:
            time.sleep(0.01)
        asking.clear()
        asking.wait(10)  # the block ends while the GPU is being asked
    assert alive() == []
    assert min(asked) >= start, "nothing is asked before the work starts"
    assert telemetry.thread_cpu_s > 0


def test_a_host_that_holds_the_thread_up_makes_no_busy_gpu_look_idle(monkeypatch):
    gpu, late = simulated(), {7: 195 * MS, 12: 450 * MS}
    telemetry, start = Telemetry([gpu], 5.0, clocks=[gpu.clock]), gpu.clock.now + 10 * MS
    end, waits = start + 6 * SECOND, count()
    gpu.work(start, end, 300.0)

    class Held:
        def acquire(self, timeout):
            gpu.clock.now += round(timeout * SECOND) + late.get(next(waits), 0)
            return gpu.clock.now >= end

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic_ns=gpu.clock.now_ns, thread_time=time.thread_time))
    unpaced(telemetry)
    telemetry._run(start, Held())

    (use,) = telemetry.use(start, end)
    assert use.gauges["sm_active"].n > 20
    assert use.gauges["sm_active"].min == pytest.approx(0.75)


def test_what_the_gpu_was_given_is_given_back():
    gpu = simulated()
    counters = []
    gpu.gpm = lambda make=gpu.gpm: counters.append(make()) or counters[-1]
    Telemetry([gpu]).close()
    assert [each.closed for each in counters] == [True]


def test_without_telemetry_no_gpu_is_asked_anything():
    gpu = simulated()
    meter = GpuMeter([gpu], clock=gpu.clock, own_pids=lambda: (1,), parallel=False, hidden_pids=False)
    meters = MeterSet((), (meter,))
    gpu.calls.clear()

    off = meters.telemetry(None)
    with off.sampling(0):
        pass

    assert gpu.calls == []
    assert (off.use(0, 1), off.timelines(0, 1)) == ((), ())
    assert [track.gauges.uuid for track in meters.telemetry(20.0).tracks] == [GPU]


def test_a_gpu_whose_counter_is_being_read_is_left_alone_and_asked_a_little_later():
    one, other = simulated(), SimulatedGpu(GpuSpec(counter=None), seed=2, uuid="GPU-b")
    looks = iter([True, True, False])
    telemetry = unpaced(Telemetry([one, other], looking=[lambda: next(looks), lambda: False]))

    telemetry.sample()

    assert [len(track.moments) for track in telemetry.tracks] == [1, 1]
    assert telemetry.tracks[0].moments[0].time_ns > telemetry.tracks[1].moments[0].time_ns

    telemetry.tracks[0].looking = lambda: True
    telemetry.sample()
    assert [len(track.moments) for track in telemetry.tracks] == [1, 2]


def test_the_counter_is_looked_at_around_its_ticks_and_rests_between_them():
    gpu = simulated()
    meter = GpuMeter([gpu], clock=gpu.clock, own_pids=lambda: (1,), parallel=False, hidden_pids=False)
    meter.begin(0)
    (channel,) = meter._channels
    gpu.work(gpu.clock.now, gpu.clock.now + 3 * SECOND, 300.0)
    gpu.calls.clear()
    until, resting = gpu.clock.now + 2 * SECOND, []
    nap = gpu.clock.sleep_until_ns

    def sleep(instant):
        if not channel.looking:
            resting.append((gpu.clock.now, instant))
        nap(instant)

    gpu.clock.sleep_until_ns = sleep
    channel.watch(lambda: gpu.clock.now > until)

    reads = [call for call in gpu.calls if call.name == "energy_mj"]
    free = sum(end - start for start, end in resting)
    assert len(channel.trail().marks) >= 15, "the ticks of two seconds are seen"
    assert free > SECOND, "telemetry has its turn in more than half of the time"
    assert not any(start < read.start_ns < end - 5 * MS for start, end in resting for read in reads)


moments = st.lists(st.tuples(st.integers(1, 10**9), st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=40).map(
    lambda steps: _moments(steps)
)


def _moments(steps) -> list[Moment]:
    now, found = 0, []
    for gap, value, throttled in steps:
        told = {"power_w": 700 * value, "sm_active": value, "throttle_reasons": ("hw_thermal",) if throttled else ()}
        found.append(Moment(now + gap, told, now))
        now += gap
    return found


def track_of(found) -> Track:
    gpu = simulated()
    track = Track(Gauges(gpu), gpu.clock, 20.0, 0.01)
    track.moments = list(found)
    return track


TRACK = track_of(())


@given(moments)
def test_a_mean_lies_between_its_extremes_and_one_over_time_is_weighted_by_the_time_it_covers(found):
    TRACK.moments = found
    use = device_use(TRACK, -SECOND, found[-1].time_ns)  # long enough before the first that each counts

    power, active = use.gauges["power_w"], use.gauges["sm_active"]
    for each in (power, active):
        assert each.min <= each.p5 <= each.p95 <= each.max
        assert each.min <= each.mean <= each.max
        assert each.n == len(found)
    assert power.mean == pytest.approx(sum(moment.values["power_w"] for moment in found) / len(found), abs=1e-9)
    total = sum(moment.time_ns - moment.since_ns for moment in found)
    weighted = sum(moment.values["sm_active"] * (moment.time_ns - moment.since_ns) for moment in found)
    assert active.mean == pytest.approx(weighted / total, abs=1e-9)
    share = sum(bool(moment.values["throttle_reasons"]) for moment in found) / len(found)
    assert use.throttle_reasons.get("hw_thermal", 0.0) == pytest.approx(share)


@given(moments, st.data())
def test_a_window_is_what_its_own_moments_say_whatever_lies_around(found, data):
    TRACK.moments = found
    start = data.draw(st.integers(0, found[-1].time_ns))
    end = data.draw(st.integers(start, found[-1].time_ns))
    inside = [moment for moment in found if start <= moment.time_ns <= end]
    late = 200 * MS

    use, told = device_use(TRACK, start, end), timeline(TRACK, start, end)

    assert use.samples == len(inside)
    assert use.gauges["power_w"].n == sum(moment.time_ns - late >= start for moment in inside)
    assert use.gauges["sm_active"].n == sum(moment.since_ns - late >= start for moment in inside)
    assert told.time_ns == tuple(moment.time_ns for moment in inside)
    assert told.values.get("power_w", ()) == tuple(moment.values["power_w"] for moment in inside)
    if not inside:
        assert use.gauges["power_w"].reason == "the window ended before a first value"


costs = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 0.01), min_size=1)


@given(costs, st.floats(1, 100), st.floats(0.0001, 0.01))
def test_readings_together_stay_within_their_share_of_a_core_or_come_once_a_second(found, hertz, share):
    pace = strides(found, {}, hertz, share)

    load = sum(cost * hertz / pace[name] for name, cost in found.items())
    slowest = max(1, int(hertz))
    assert load <= share * (1 + 1e-9) or all(stride == slowest for name, stride in pace.items() if found[name])
    assert all(1 <= stride <= slowest for stride in pace.values())


def test_what_is_cheap_keeps_the_full_rate_and_what_is_dear_gives_way():
    pace = strides({"power": 5e-6, "clock": 1e-4, "gpm": 4e-4}, {"gpm": 5.0}, 20.0, 0.005)
    assert pace == {"power": 1, "clock": 1, "gpm": 4}

    pace = strides({"power": 5e-6, "clock": 3e-3, "gpm": 4e-4}, {"gpm": 5.0}, 20.0, 0.005)
    assert pace == {"power": 1, "clock": 20, "gpm": 8}
    assert sum((5e-6, 3e-3 / 20, 4e-4 / 8)) * 20 <= 0.005


def test_a_thread_that_took_too_much_of_its_core_lets_readings_take_less_until_there_is_room_again():
    one, other = simulated(activity=None), simulated(activity=None)
    telemetry = Telemetry([one, other])
    assert [track.share for track in telemetry.tracks] == [0.0025, 0.0025]

    telemetry.afford(0.044, 4.0)  # 1.1 %: 0.2 % beyond what it aims at
    assert [track.share for track in telemetry.tracks] == pytest.approx([0.0015, 0.0015])
    telemetry.afford(0.036, 4.0)
    assert telemetry.tracks[0].share == pytest.approx(0.0015)
    telemetry.afford(0.001, 0.01)  # too short to tell
    assert telemetry.tracks[0].share == pytest.approx(0.0015)
    telemetry.afford(4.0, 4.0)
    assert telemetry.tracks[0].share == pytest.approx(0.00025)
    telemetry.afford(0.0, 4.0)  # half of the 0.9 % that are left
    assert telemetry.tracks[0].share == pytest.approx((0.0005 + 0.0045) / 2)
    for _ in range(9):
        telemetry.afford(0.0, 4.0)
    assert telemetry.tracks[0].share == pytest.approx(0.0045), "all that the thread may take, at most"


def test_readings_come_at_their_full_rate_once_the_thread_is_seen_to_afford_them():
    """On an H200: GPM took 2.3 ms where it was idle, 1.3 at work, and the thread 0.62 % of a core in all."""
    telemetry = Telemetry([simulated(activity=None)])
    costs = {"power": 100e-6, "sm_clock": 15e-6, "memory_clock": 6e-6, "temperature": 9e-6, "utilization": 12e-6}
    costs |= {"memory": 66e-6, "throttle": 19e-6, "gpm": 2317e-6}

    def rates():
        pace = strides(costs, SLOWER, 20.0, telemetry.tracks[0].share, least=SLOWEST, spared="power")
        return {name: 20 / stride for name, stride in pace.items()}

    assert rates()["sm_clock"] < 20
    for _ in range(4):
        telemetry.afford(0.0062, 1.0)
    expected = {"power": 20, "sm_clock": 20, "throttle": 20, "memory": 20, "gpm": 2}
    assert rates() == expected | dict.fromkeys(("memory_clock", "temperature", "utilization"), 5)


def costing(gpu, name: str, seconds: float, *, share: float) -> Track:
    """A track by a CPU clock that only the source of this name moves, so many seconds a reading."""
    now = [0.0]
    clock = lambda: now[0]  # noqa: E731 - both want it under its name
    track = Track(Gauges(gpu, cpu=clock), gpu.clock, 20.0, share, cpu=clock)
    source = track.gauges.sources[name]
    ask = source.ask

    def moved():
        now[0] += seconds
        return ask()

    source.ask = moved
    return track


def test_what_asking_took_is_that_of_the_window_also_where_it_is_the_steady_half_of_a_pass():
    gpu = simulated(activity=None)
    track = costing(gpu, "power", 0.0005, share=1.0)
    track.restart()
    start = gpu.clock.now
    for tick in range(200):
        gpu.clock.advance_to(start + tick * 50 * MS)
        track.sample()
    middle, end = start + 5 * SECOND, start + 10 * SECOND
    shares = [device_use(track, *window).cpu_share for window in ((start, end), (start, middle), (middle, end))]
    assert shares == pytest.approx([0.01, 0.01, 0.01])


def test_a_reading_may_have_a_least_rate_of_its_own():
    assert strides({"gpm": 1.0, "clock": 1.0}, {}, 20.0, 0.001, least={"gpm": 2.0}) == {"gpm": 10, "clock": 20}


def test_power_gives_way_when_it_takes_four_times_as_much_as_any_other():
    dear = {"power": 2e-4, "clock": 1e-4, "gpm": 1e-4}
    assert strides(dear, {}, 20.0, 0.0062, spared="power") == {"power": 1, "clock": 2, "gpm": 2}
    assert strides(dear, {}, 20.0, 0.0042, spared="power") == {"power": 2, "clock": 2, "gpm": 2}
    assert strides(dear, {}, 20.0, 0.0042) == {"power": 4, "clock": 2, "gpm": 1}


def test_on_an_h200_what_is_cheap_is_asked_20_times_a_second_and_all_together_take_half_a_per_cent():
    """CPU seconds of its calls beside work: docs/evidence/overhead-telemetry-h200.md."""
    costs = {"power": 122e-6, "sm_clock": 15e-6, "memory_clock": 6e-6, "temperature": 9e-6, "utilization": 12e-6}
    costs |= {"memory": 66e-6, "throttle": 19e-6, "gpm": 1280e-6}
    pace = strides(costs, SLOWER, 20.0, 0.005, least=SLOWEST, spared="power")
    rates = {name: 20 / stride for name, stride in pace.items()}
    expected = {"power": 10, "sm_clock": 20, "throttle": 20, "memory": 5, "gpm": 2}
    assert rates == expected | dict.fromkeys(("memory_clock", "temperature", "utilization"), 5)
    assert sum(costs[name] * rate for name, rate in rates.items()) <= 0.005


def test_a_reading_that_turns_out_dear_is_asked_less_often_in_later_windows():
    gpu = simulated(activity=None)
    track = costing(gpu, "temperature", 0.0039, share=0.005)
    for _ in range(4):
        track.restart()
        gpu.calls.clear()
        for _ in range(80):
            track.sample()
    asked = [call.name for call in gpu.calls]
    assert (asked.count("temperature_c"), asked.count("power_w")) == (5, 80)
    assert sum(moment.cpu_s for moment in track.moments) == pytest.approx(5 * 0.0039)


@pytest.mark.parametrize("share", [1.0, 0.005])
def test_what_a_whole_reading_of_gpm_costs_is_known_though_its_first_in_a_window_takes_a_tenth_of_it(share):
    gpu, now = simulated(), [0.0]
    clock = lambda: now[0]  # noqa: E731 - a CPU clock that only GPM moves
    counters = gpu.gpm()

    def read(ask=counters.read):
        found = ask()
        now[0] += 0.0002 if found is None else 0.002
        return found

    counters.read, gpu.gpm = read, lambda: counters
    track = Track(Gauges(gpu, cpu=clock), gpu.clock, 20.0, share, cpu=clock)
    for _ in range(10):
        start = gpu.clock.now
        track.restart()
        for tick in range(80):
            gpu.clock.advance_to(start + tick * 50 * MS)
            track.sample()
    assert track.gauges.sources["gpm"].cost_s == pytest.approx(0.002)
    asked = sum("sm_active" in moment.values for moment in track.moments)
    assert asked == (18 if share == 1.0 else 7), "5 a second where there is room for it, else 2"


@pytest.fixture
def machine(monkeypatch):
    """Puts made-up GPUs into the machine; gives the module that stands for NVML."""
    nvml.library.cache_clear()

    def install(*gpus):
        lib = fake_pynvml(*gpus)
        monkeypatch.setitem(sys.modules, "pynvml", lib)
        return lib

    yield install
    nvml.library.cache_clear()


def test_the_driver_tells_clocks_heat_use_and_memory_in_our_units(machine):
    machine(FakeGpu(GPU, used=7_000, temperature=55, reasons=0x44))
    driver = nvml.NvmlDriver(GPU)

    assert (driver.clock_mhz("sm"), driver.temperature_c(), driver.memory_used()) == (1980, 55, 7_000)
    assert driver.utilization() == (0.97, 0.4)
    assert driver.throttle_reasons() == ("sw_power_cap", "hw_thermal")


def test_gpm_gives_shares_between_two_samples_in_order_and_gives_the_samples_back(machine):
    lib = machine(FakeGpu(GPU, gpm={1: 82.0, 2: 75.0, 3: 11.0, 5: 72.0, 10: 20.0}))
    gpm = nvml.NvmlDriver(GPU).gpm()

    assert gpm.read() is None
    expected = {"gr_engine_active": 0.82, "sm_active": 0.75, "sm_occupancy": 0.11, "tensor_active": 0.72}
    for _ in range(3):
        assert gpm.read() == pytest.approx(expected | {"dram_active": 0.2})
    gpm.restart()
    assert gpm.read() is None
    assert len(lib.samples) == 2

    gpm.close()
    gpm.close()
    assert lib.samples == []


def test_a_metric_that_gpm_has_no_value_for_is_absent_with_nvmls_word_and_never_0(machine):
    gpu = FakeGpu(GPU, gpm={2: 75.0, 10: float("nan")})
    lib = machine(gpu)
    telemetry = unpaced(Telemetry([nvml.NvmlDriver(GPU)]))
    start = time.monotonic_ns()
    for _ in range(9):
        telemetry.sample()

    (use,) = telemetry.use(start - SECOND, time.monotonic_ns())
    assert use.gauges["sm_active"].mean == 0.75
    assert (use.gauges["tensor_active"].mean, use.gauges["tensor_active"].reason) == (None, "GPM: Not Supported")
    assert (use.gauges["dram_active"].mean, use.gauges["dram_active"].reason) == (None, "GPM: NVML gave no number")

    gpu.gpm |= {10: 20.0}  # one that has a number at last, and others later, has no reason: each covers its own time
    for _ in range(8):
        telemetry.sample()
    (use,) = telemetry.use(start - SECOND, time.monotonic_ns())
    assert (use.gauges["dram_active"].mean, use.gauges["dram_active"].reason) == (0.2, None)

    gpu.gpm |= {5: 50.0, 10: 20.0}  # and a metric that it has again is whole again
    telemetry.restart()
    for _ in range(9):
        telemetry.sample()
    (use,) = telemetry.use(start - SECOND, time.monotonic_ns())
    assert (use.gauges["tensor_active"].mean, use.gauges["tensor_active"].reason) == (0.5, None)
    telemetry.close()
    assert lib.samples == []


@pytest.mark.parametrize(
    ("gpu", "reason"),
    [
        (FakeGpu(GPU), "GPM: the card has none"),
        (FakeGpu(GPU, gpm={}, lacks={"nvmlGpmQueryDeviceSupport"}), "GPM: Not Supported"),
    ],
)
def test_a_card_without_gpm_says_so_at_once(machine, gpu, reason):
    machine(gpu)
    with pytest.raises(MeterError, match=f"^{reason}$"):
        nvml.NvmlDriver(GPU).gpm()


def test_gpm_that_cannot_have_its_second_sample_gives_back_the_first(machine):
    lib = machine(FakeGpu(GPU, gpm={2: 75.0}))
    lib.most_samples = 1
    with pytest.raises(MeterError, match="GPM: Insufficient Memory"):
        nvml.NvmlDriver(GPU).gpm()
    assert lib.samples == []


def test_gpm_that_fails_midway_begins_anew_when_it_answers_again(machine):
    gpu = FakeGpu(GPU, gpm={2: 75.0})
    machine(gpu)
    gpm = nvml.NvmlDriver(GPU).gpm()
    gpm.read()
    gpu.broken.add("nvmlGpmSampleGet")
    with pytest.raises(MeterError, match="GPM: GPU is lost"):
        gpm.read()
    gpu.broken.clear()
    assert gpm.read() is None
    assert gpm.read() == {"sm_active": 0.75}


def test_every_gauge_has_a_unit_and_a_definition():
    assert len(BY_KEY) == len(GAUGES)
    assert all(gauge.unit and gauge.definition for gauge in GAUGES)
    assert set(ACTIVITY) <= set(BY_KEY)
    assert LoadWatch(Counter(simulated(), simulated().clock), TickTrain()).looking
