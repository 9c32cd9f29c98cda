from __future__ import annotations

import sys
import threading
import time
from itertools import pairwise

import pytest
from fake_pynvml import FakeGpu, fake_pynvml
from simulated_counter import CounterSpec, Ticks
from simulated_gpu import GpuSpec, SimulatedGpu

from pytest_lem.meters import nvml
from pytest_lem.meters.guards import IdleFloor, ProcessGuard, slowdown_fault
from pytest_lem.meters.nvml_meter import GpuMeter
from pytest_lem.model.errors import MeterError, UsageError

A, B, C = "GPU-aaaa1111-0", "GPU-aaaa2222-0", "GPU-bbbb3333-0"
MS, SECOND = 1_000_000, 1_000_000_000


@pytest.fixture
def machine(monkeypatch):
    """Puts made-up GPUs into the machine."""
    nvml.library.cache_clear()

    def install(*gpus, driver=True):
        monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(*gpus, driver=driver))

    yield install
    nvml.library.cache_clear()


def test_gpus_are_listed_in_pci_order_with_their_facts(machine):
    machine(FakeGpu(A), FakeGpu(B, name="NVIDIA L4", limit_mw=72_000, total=24_000))

    first, second = nvml.gpus()

    assert first.uuid == A
    assert (second.uuid, second.name, second.driver) == (B, "NVIDIA L4", "580.95.05")
    assert (second.power_limit_w, second.memory_bytes) == (72.0, 24_000)


def test_a_card_that_does_not_tell_its_power_limit_has_none(machine):
    machine(FakeGpu(A, lacks={"nvmlDeviceGetEnforcedPowerLimit"}))

    assert nvml.gpus()[0].power_limit_w is None


def test_a_machine_without_the_driver_has_no_gpus(machine):
    machine(driver=False)

    assert nvml.gpus() == ()
    assert nvml.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == ()
    with pytest.raises(MeterError, match="NVML Shared Library Not Found"):
        nvml.library()


@pytest.mark.parametrize(
    ("value", "visible"),
    [
        (None, (A, B, C)),
        ("", ()),
        ("-1", ()),
        ("2,0", (C, A)),
        ("0,-1,1", (A,)),
        (B, (B,)),
        ("GPU-bbbb", (C,)),
        (" 1 , GPU-bbbb3333-0", (B, C)),
        ("MIG-77aa", ("MIG-77aa",)),
    ],
)
def test_cuda_visible_devices_is_resolved_to_uuids(machine, value, visible):
    machine(FakeGpu(A), FakeGpu(B), FakeGpu(C))

    assert nvml.visible_gpus({} if value is None else {"CUDA_VISIBLE_DEVICES": value}) == visible


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("3", "there is no GPU 3 here; indices go from 0 to 2"),
        ("GPU-aaaa", "begins 2 UUIDs"),
        ("GPU-cccc", "is no GPU of this machine"),
        ("gpu0", "is no GPU of this machine"),
        ("0,GPU-aaaa1", "a second time"),
    ],
)
def test_cuda_visible_devices_that_names_no_one_gpu_is_refused_by_name(machine, value, fault):
    machine(FakeGpu(A), FakeGpu(B), FakeGpu(C))

    with pytest.raises(UsageError, match=rf"^CUDA_VISIBLE_DEVICES: .*{fault}"):
        nvml.visible_gpus({"CUDA_VISIBLE_DEVICES": value})


def test_memory_in_use_is_asked_by_uuid(machine):
    machine(FakeGpu(A, used=1), FakeGpu(B, used=7_000))

    assert nvml.memory_used(B) == 7_000
    with pytest.raises(MeterError, match=r"GPU-gone: Not Found"):
        nvml.memory_used("GPU-gone")


def test_the_driver_reads_its_own_gpu_in_joules_and_watts(machine):
    machine(FakeGpu(A), FakeGpu(B, energy_mj=123_456, instant_mw=98_700, average_mw=101_000, pids=(7, 9), reasons=0x68))
    driver = nvml.NvmlDriver(B)

    assert (driver.uuid, driver.energy_mj(), driver.power_w(), driver.average_power_w()) == (B, 123_456, 98.7, 101.0)
    assert driver.process_ids() == (7, 9)
    assert driver.state() == nvml.NvmlState(1980, 41, ("hw_slowdown", "sw_thermal", "hw_thermal"))


def test_what_a_card_lacks_is_an_error_for_readings_and_nothing_for_facts(machine):
    lacks = {
        "186",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetMigMode",
    }
    machine(FakeGpu(A, lacks=lacks))
    driver = nvml.NvmlDriver(A)

    with pytest.raises(MeterError, match=f"{A}: total energy: Not Supported"):
        driver.energy_mj()
    with pytest.raises(MeterError, match=f"{A}: power: Not Supported"):
        driver.power_w()
    assert (driver.process_ids(), driver.state().sm_clock_mhz, driver.mig) == ((), None, False)


def test_a_mig_instance_is_measured_by_the_whole_gpu_that_holds_it(machine):
    machine(FakeGpu(A), FakeGpu(B, energy_mj=42, mig=True, instances=("MIG-1",)))
    driver = nvml.NvmlDriver("MIG-1")

    assert (driver.uuid, driver.energy_mj(), driver.mig) == (B, 42, True)


def test_a_mig_instance_is_told_by_its_own_name_and_the_facts_of_the_gpu_that_holds_it(machine):
    machine(FakeGpu(A), FakeGpu(B, name="NVIDIA L4", limit_mw=72_000, mig=True, instances=("MIG-1",)))

    instance, whole = nvml.known(("MIG-1", A))

    assert (instance.uuid, instance.name) == ("MIG-1", "NVIDIA L4 MIG 1g.10gb")
    assert (instance.driver, instance.power_limit_w, instance.clocks_mhz["max"]) == ("580.95.05", 72.0, 1980)
    assert whole == nvml.gpus()[0]


def test_what_is_no_gpu_of_this_machine_is_not_told(machine):
    machine(FakeGpu(A))

    assert nvml.known(("MIG-gone", A, B)) == nvml.gpus()


def test_where_nothing_is_visible_the_driver_is_not_asked(machine):
    machine(FakeGpu(A, broken={"nvmlDeviceGetName"}))

    assert nvml.known(()) == ()


def test_without_the_driver_nothing_is_known(machine):
    machine(driver=False)

    assert nvml.known((A, "MIG-1")) == ()


def simulated(uuid=A, **changes):
    counter = CounterSpec(Ticks(0.1, 0.03))
    return SimulatedGpu(GpuSpec(**{"counter": counter} | changes), seed=1, uuid=uuid)


def meter_of(*gpus, own=(1,), hidden=False):
    return GpuMeter(gpus, clocks=[g.clock for g in gpus], own_pids=lambda: own, parallel=False, hidden_pids=hidden)


def play(meter, *gpus, phase=0, seconds=2.0, extra_w=300.0):
    """One window of steady work on every GPU; the readings and the window."""
    start = meter.begin(phase)
    end = start + int(seconds * SECOND)
    for gpu in gpus:
        gpu.clock.advance_to(start)
        gpu.work(start, end, extra_w)
    for instant in range(start, end + 1, 20 * MS):
        for gpu in gpus:
            gpu.clock.advance_to(instant)
        meter.sample()
    return meter.end(start, end), (start, end)


def test_a_reading_names_its_gpu_and_can_be_recomputed_from_its_edges():
    gpu = simulated()
    (reading,), (start, end) = play(meter_of(gpu), gpu)

    assert (reading.device, reading.kind, reading.meter) == (A, "gpu", "nvml")
    assert (reading.method, reading.source, reading.faults, reading.notes) == ("counter", "measured", (), ())
    assert reading.tick_s == pytest.approx(0.1, rel=0.02)
    assert reading.joules == pytest.approx(gpu.true_joules(start, end), rel=0.005)
    head, tail = reading.head, reading.tail
    idle = head.power_w * (start - head.time_ns) + tail.power_w * (tail.time_ns - end)
    assert reading.joules == pytest.approx(tail.joules - head.joules - idle / SECOND)


def test_eight_rounds_begin_at_eight_phases_of_the_tick():
    gpu = simulated()
    meter = meter_of(gpu)
    starts = [play(meter, gpu, phase=k, seconds=1.0)[1][0] for k in range(8)]

    phases = sorted(start // MS % 100 for start in starts)
    gaps = [later - earlier for earlier, later in zip(phases, [*phases[1:], phases[0] + 100], strict=True)]
    assert min(gaps) >= 8
    assert max(gaps) <= 17


def test_several_gpus_start_after_the_last_head_and_are_told_apart():
    gpus = simulated(A), simulated(B, counter=CounterSpec(Ticks(0.1, 0.08)))
    readings, window = play(meter_of(*gpus), *gpus)

    assert [reading.device for reading in readings] == [A, B]
    assert all(reading.head.time_ns + 30 * MS <= window[0] for reading in readings)
    for gpu, reading in zip(gpus, readings, strict=True):
        assert reading.joules == pytest.approx(gpu.true_joules(*window), rel=0.005)


def test_the_gpu_is_left_alone_while_it_works():
    gpu = simulated()
    _, (start, end) = play(meter_of(gpu), gpu)

    assert [call.name for call in gpu.calls if call.end_ns > start and call.start_ns < end] == []


def test_the_counter_is_never_asked_more_often_than_every_3_ms():
    gpu = simulated(slow=0.01)
    play(meter_of(gpu), gpu)

    asked = [call.start_ns for call in gpu.calls if call.name == "energy_mj"][1:]
    assert len(asked) > 20
    assert min(later - earlier for earlier, later in pairwise(asked)) >= 3 * MS


def test_clock_temperature_and_throttling_are_kept_from_just_outside_the_window():
    gpu = simulated(throttled=(("sw_power_cap", 0.0, 1e6),))
    (reading,), _ = play(meter_of(gpu), gpu)
    idle_mhz, _ = gpu.spec.sm_clocks_mhz
    assert reading.before.sm_clock_mhz == reading.after.sm_clock_mhz == idle_mhz
    assert reading.before.throttle_reasons == ("sw_power_cap",)
    assert reading.after.temperature_c > reading.before.temperature_c
    assert reading.head.time_ns < reading.before.time_ns
    assert reading.after.time_ns > reading.tail.time_ns


def test_a_window_under_a_second_has_edges_but_no_joules():
    gpu = simulated()
    (reading,), _ = play(meter_of(gpu), gpu, seconds=0.9)

    assert reading.joules is None
    assert reading.source is None
    assert reading.reason.startswith("the window is shorter than 1 s")
    assert reading.tail.joules > reading.head.joules


@pytest.mark.parametrize(
    ("counter", "word"),
    [
        ({"jumps": ((2.0, -5000.0),)}, "backwards"),
        ({"restarts": (2.0,)}, "backwards"),
        ({"stuck": ((2.0, 60.0),)}, "still"),
        ({"jumps": ((2.0, -700.0),)}, "still"),
        ({"stuck": ((0.0, 60.0),)}, "still"),
    ],
)
def test_a_counter_that_fails_is_a_fault(counter, word):
    gpu = simulated(counter=CounterSpec(Ticks(0.1, 0.03), **counter))
    (reading,), _ = play(meter_of(gpu), gpu)

    assert any(word in fault for fault in reading.faults), reading


def test_another_process_on_the_gpu_is_a_fault():
    gpu = simulated(processes=((1, 0.0, 99.0), (4242, 0.0, 99.0)))
    (reading,), _ = play(meter_of(gpu), gpu)

    assert reading.faults == ("another process is on the GPU: PID 4242",)


def test_a_gpu_that_begins_to_work_for_another_before_the_start_is_a_fault_and_the_next_clean_round_is_not():
    gpu = simulated()
    meter = meter_of(gpu)
    clean = play(meter, gpu)[0][0]
    gpu.work(gpu.clock.now, gpu.clock.now + SECOND, 200.0)
    busy = play(meter, gpu, phase=1)[0][0]
    after = play(meter, gpu, phase=2)[0][0]

    assert clean.faults == ()
    assert any("not idle before the start" in fault for fault in busy.faults)
    assert after.faults == ()


def test_a_round_right_after_work_of_our_own_is_as_good_as_one_from_idle():
    gpu = simulated()
    meter = meter_of(gpu)
    play(meter, gpu)
    for phase in range(8):
        now = gpu.clock.now
        gpu.work(now, now + SECOND // 2, 300.0)
        gpu.clock.advance_to(now + SECOND // 2 + 5 * MS)
        (reading,), window = play(meter, gpu, phase=phase)

        assert reading.faults == ()
        assert reading.joules == pytest.approx(gpu.true_joules(*window), rel=0.003)


def test_a_round_asks_the_counter_a_few_times_only():
    gpu = simulated()
    meter = meter_of(gpu)
    for phase in range(3):
        play(meter, gpu, phase=phase)
    before = len(gpu.calls)
    play(meter, gpu, phase=3)

    assert sum(call.name == "energy_mj" for call in gpu.calls[before:]) <= 28


def test_thermal_throttling_beside_a_window_is_a_fault_and_a_power_cap_is_not():
    assert slowdown_fault(("idle", "hw_thermal")) == "the GPU was slowed down: hw_thermal"
    assert slowdown_fault(("idle", "sw_power_cap")) is None


def test_mig_is_noted_because_the_joules_are_shared():
    gpu = simulated(mig=True)
    (reading,), _ = play(meter_of(gpu), gpu)

    assert reading.notes == ("MIG is enabled: the joules are the whole GPU's, shared by its instances",)


def test_a_card_without_a_counter_is_integrated_from_its_power():
    gpu = simulated(counter=None)
    (reading,), window = play(meter_of(gpu), gpu, seconds=4.0)

    assert (reading.method, reading.head) == ("power-integral", None)
    truth = gpu.true_joules(*window)
    assert reading.joules == pytest.approx(truth, rel=0.02)
    assert abs(reading.joules - truth) <= 1.96 * reading.std


def test_a_gpu_that_is_lost_has_a_reason_instead_of_joules(monkeypatch):
    gpu = simulated()
    meter = meter_of(gpu)
    start = meter.begin(0)
    gpu.clock.advance_to(start + SECOND)

    def lost():
        raise MeterError("GPU is lost")

    monkeypatch.setattr(gpu, "energy_mj", lost)
    (reading,) = meter.end(start, start + SECOND)

    assert (reading.joules, reading.source, reading.reason) == (None, None, "GPU is lost")


@pytest.mark.parametrize(
    ("hidden", "seen", "own", "fault"),
    [
        (False, {5}, {5}, None),
        (False, {5, 6}, {5}, "6"),
        (False, {6}, {5}, "6"),
        (True, {9001}, {5}, None),
        (True, {5, 9001}, {5}, "9001"),
        (True, {9001, 9002}, {5}, "9001, 9002"),
        (True, set(), {5}, None),
    ],
)
def test_strangers_are_told_by_pid_or_by_count_where_pids_are_renumbered(hidden, seen, own, fault):
    expected = fault and f"another process is on the GPU: PID {fault}"

    assert ProcessGuard(hidden).fault(seen, own) == expected


def test_where_pids_are_renumbered_a_pid_that_comes_later_is_a_stranger():
    guard = ProcessGuard(hidden=True)
    guard.fault({9001}, {5, 6})

    assert guard.fault({9001, 9002}, {5, 6}) == "another process is on the GPU: PID 9002"


def test_idle_may_differ_by_a_quarter_and_a_margin_that_the_work_sets():
    floor = IdleFloor()
    assert floor.fault(100.0) is None
    assert floor.fault(170.0) is None
    assert floor.fault(171.0) == "not idle before the start: 171 W, expected at most 170 W"
    floor.worked(150.0)
    assert floor.fault(143.0) == "not idle before the start: 143 W, expected at most 142 W"


class HostGpu:
    """A GPU on the host's own clock: 100 W idle, 300 W while `busy`, a counter that ticks every 20 ms, quick calls."""

    name = "host GPU"
    mig = False

    def __init__(self, uuid, counter=True):
        self.uuid, self.counter, self.busy, self.threads = uuid, counter, [], set()

    def _joules(self, t):
        worked = sum(max(0, min(t, end) - start) for start, end in self.busy if t > start)
        return (100 * t + 200 * worked) / SECOND

    def energy_mj(self):
        self.threads.add(threading.get_ident())
        if not self.counter:
            raise MeterError("no counter")
        return int(self._joules(time.monotonic_ns() // (20 * MS) * (20 * MS)) * 1000)

    def power_w(self):
        now = time.monotonic_ns()
        value = 300.0 if any(start <= now < end for start, end in self.busy) else 100.0
        return value + now // (20 * MS) % 7 * 0.01

    average_power_w = power_w

    def process_ids(self):
        return ()

    def state(self):
        return nvml.NvmlState(None, None, ())


def test_on_the_host_every_gpu_is_polled_by_its_own_thread_and_a_blind_one_is_sampled():
    gpus = HostGpu(A), HostGpu(B), HostGpu(C, counter=False)
    meter = GpuMeter(gpus, own_pids=lambda: ())
    start = meter.begin(0)
    end = start + 1100 * MS
    for gpu in gpus:
        gpu.busy.append((start, end))
    time.sleep((end - time.monotonic_ns()) / SECOND)
    readings = meter.end(start, end)
    meter.close()

    assert [reading.method for reading in readings] == ["counter", "counter", "power-integral"]
    for reading in readings:
        assert reading.joules == pytest.approx(330.0, rel=0.1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("lem-gpu", "lem-power"))]
