"""A GPU in virtual time whose every joule is known: the judge of the GPU meter, with which it shares no code.

`SimulatedGpu` offers what the meter asks of a driver. Each GPU has a clock of its own; calls take virtual time, as on
the real thing, where the energy counter answers in about 3 ms (p99 17 ms) and field 186 in 5 µs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulated_counter import Counter, CounterSpec, PowerFields, Ticks
from simulated_power import Glow, Idle, PowerCurve, Work

from pytest_lem.model.errors import MeterError

ORIGIN_NS = 5_000_000_000_000
_LOOK_NS = 50
_FIELD_CALL_S = 5e-6
_FACT_CALL_S = 50e-6
_GPM_CALL_S = 4e-4
_GPM_NEAR_S = 0.05


@dataclass
class VirtualClock:
    """A monotonic clock that moves when someone looks, sleeps or calls; sleeping wakes a little late, as hosts do."""

    rng: random.Random
    now: int = ORIGIN_NS

    def now_ns(self) -> int:
        """The time; looking costs 50 ns, so that a loop which only looks comes to an end."""
        self.now += _LOOK_NS
        return self.now

    def sleep_until_ns(self, instant: int) -> None:
        """Sleep; wakes 50 to 150 µs late, once in a hundred times up to 3 ms."""
        if instant > self.now:
            late = self.rng.uniform(1e6, 3e6) if self.rng.random() < 0.01 else self.rng.uniform(5e4, 1.5e5)
            self.now = instant + int(late)

    def advance_to(self, instant: int) -> None:
        """Move to `instant` exactly, or stay where that has passed."""
        self.now = max(self.now, instant)

    @property
    def seconds(self) -> float:
        """The time in seconds since the origin."""
        return seconds_of(self.now)


def seconds_of(instant_ns: int) -> float:
    """An instant on the monotonic clock as seconds on the simulation's axis."""
    return (instant_ns - ORIGIN_NS) / 1e9


def slow_call(rng: random.Random) -> float:
    """How long the energy counter takes to answer, in seconds: 3 ms, p99 17 ms, at most 40 ms."""
    if rng.random() < 0.96:
        return rng.uniform(2.6e-3, 3.4e-3)
    return min(3.4e-3 + rng.expovariate(1 / 9.8e-3), 40e-3)


@dataclass(frozen=True)
class SimulatedState:
    """Clocks, temperature and throttle reasons of an instant."""

    sm_clock_mhz: int | None
    temperature_c: int | None
    throttle_reasons: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A call that someone made: its name and when it began and ended (ns)."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class GpuSpec:
    """A GPU as a test wants it. `counter` or `power_ticks` of None: the card lacks that reading.

    `power_averages`: field 186 tells the mean since its last refresh, as an H100's does, and not the instant.
    `glow_w` and `glow_tau_s`: power that decays after work. `slow` scales the time that counter calls take.
    `processes` are (pid, from, until) in seconds, `throttled` (reason, from, until). `activity` are the shares that GPM
    tells of time at work (None: the card has no GPM), by counters that are `activity_late_s` old when they are read.
    `memory_bytes` is what is in use idle and at work, `lacks` names methods that the card does not answer, `lost_at_s`
    is when its driver fails.
    """

    counter: CounterSpec | None
    power_ticks: Ticks | None = field(default_factory=lambda: Ticks(0.1, 0.04))
    power_averages: bool = True
    idle: Idle = field(default_factory=Idle)
    glow_w: float = 0.0
    glow_tau_s: float = 1.0
    noise_w: float = 0.3
    slow: float = 1.0
    sm_clocks_mhz: tuple[int, int] = (1980, 1980)
    processes: tuple[tuple[int, float, float], ...] = ()
    throttled: tuple[tuple[str, float, float], ...] = ()
    mig: bool = False
    activity: Mapping[str, float] | None = field(default_factory=lambda: {"sm_active": 0.75, "dram_active": 0.2})
    activity_late_s: float = 0.12
    memory_bytes: tuple[int, int] = (2**30, 8 * 2**30)
    lacks: frozenset[str] = frozenset()
    lost_at_s: float = math.inf


class SimulatedGpu:
    """A driver over a power curve. `clock` is its own; `calls` lists every call made, for tests to inspect."""

    def __init__(self, spec: GpuSpec, *, seed: int = 0, uuid: str = "GPU-simulated-0") -> None:
        self.spec, self.uuid, self.name = spec, uuid, "Simulated H100"
        self.mig = spec.mig
        self._rng = random.Random(seed)
        self.clock = VirtualClock(random.Random(self._rng.random()))
        self.calls: list[Call] = []
        self._busy: list[Work] = []
        self._curve = PowerCurve([spec.idle])
        self._counter = Counter(spec.counter, self._curve) if spec.counter else None
        noise = random.Random(self._rng.random())
        self._fields = (
            PowerFields(spec.power_ticks, self._curve, lambda: noise.gauss(0, spec.noise_w), spec.power_averages)
            if spec.power_ticks
            else None
        )

    def work(self, start_ns: int, end_ns: int, extra_w: float, *, duty: float = 1.0, period_s: float = 0.1) -> None:
        """Let the GPU work in [start, end): bursts of `extra_w` above idle. Raises ValueError for work in the past."""
        if start_ns < self.clock.now:
            raise ValueError("work cannot begin before the clock: sensors have read that time already")
        start, end = seconds_of(start_ns), seconds_of(end_ns)
        work = Work(start, end, extra_w, duty, period_s)
        self._busy.append(work)
        self._curve.terms.append(work)
        if self.spec.glow_w:
            self._curve.terms.append(Glow(start, end, self.spec.glow_w, self.spec.glow_tau_s))

    def true_joules(self, start_ns: int, end_ns: int) -> float:
        """The energy that the GPU really took between two instants (J)."""
        return self._curve.joules(seconds_of(start_ns), seconds_of(end_ns))

    def true_watts(self, instant_ns: int) -> float:
        """The power that the GPU really took at an instant (W)."""
        return self._curve.watts(seconds_of(instant_ns))

    def counter_joules(self, instant_ns: int) -> float:
        """What the counter shows at an instant (J), told without a call. Raises ValueError where there is none."""
        if self._counter is None:
            raise ValueError("this GPU has no counter")
        return self._counter.millijoules(seconds_of(instant_ns)) / 1000

    def tick_before(self, instant_ns: int) -> int:
        """The counter's last tick at or before an instant (ns, rounded up). Raises ValueError where there is none."""
        if self.spec.counter is None:
            raise ValueError("this GPU has no counter")
        ticks = self.spec.counter.ticks
        return ORIGIN_NS + math.ceil(ticks.time(ticks.last(seconds_of(instant_ns))) * 1e9)

    def energy_mj(self) -> int:
        """Total energy counter (mJ), sampled somewhere inside a slow call. Raises MeterError where there is none."""
        began = self.clock.now
        length = slow_call(self._rng) * self.spec.slow
        sampled = self.clock.seconds + length * self._rng.random()
        self._pass("energy_mj", began, length)
        if self._counter is None:
            raise MeterError(f"{self.uuid}: the card has no total-energy counter")
        return self._counter.millijoules(sampled)

    def power_w(self) -> float:
        """Field 186 (W). Raises MeterError where the card has none."""
        fields = self._quick_field("power_w")
        return fields.instant(self.clock.seconds)

    def average_power_w(self) -> float:
        """Field 185, the running average over 1 s (W). Raises MeterError where the card has none."""
        fields = self._quick_field("average_power_w")
        return fields.average(self.clock.seconds)

    def process_ids(self) -> tuple[int, ...]:
        """PIDs on the GPU now."""
        self._pass("process_ids", self.clock.now, _FACT_CALL_S)
        now = self.clock.seconds
        return tuple(pid for pid, begin, end in self.spec.processes if begin <= now < end)

    def state(self) -> SimulatedState:
        """Clocks, temperature (follows the mean power of the last 20 s) and throttle reasons of now."""
        self._pass("state", self.clock.now, _FACT_CALL_S)
        now = self.clock.seconds
        idle_mhz, busy_mhz = self.spec.sm_clocks_mhz
        busy = any(work.start <= now < work.end for work in self._busy)
        reasons = tuple(reason for reason, begin, end in self.spec.throttled if begin <= now < end)
        warm = self._curve.joules(now - 20, now) / 20
        return SimulatedState(busy_mhz if busy else idle_mhz, round(28 + 0.05 * warm), reasons)

    def clock_mhz(self, which: str) -> int:
        """The SMs' clock of now, or the memory's, which never changes."""
        self._tell("clock_mhz", _FACT_CALL_S)
        return self.spec.sm_clocks_mhz[self._at_work()] if which == "sm" else 2619

    def temperature_c(self) -> int:
        """The chip's temperature, which follows the mean power of the last 20 s."""
        self._tell("temperature_c", _FACT_CALL_S)
        now = self.clock.seconds
        return round(28 + 0.05 * self._curve.joules(now - 20, now) / 20)

    def utilization(self) -> tuple[float, float]:
        """Full at work, none when idle."""
        self._tell("utilization", _FACT_CALL_S)
        return (1.0, 0.4) if self._at_work() else (0.0, 0.0)

    def memory_used(self) -> int:
        """Bytes in use now."""
        self._tell("memory_used", _FACT_CALL_S)
        return self.spec.memory_bytes[self._at_work()]

    def throttle_reasons(self) -> tuple[str, ...]:
        """The reasons of now."""
        self._tell("throttle_reasons", _FACT_CALL_S)
        now = self.clock.seconds
        return tuple(reason for reason, begin, end in self.spec.throttled if begin <= now < end)

    def gpm(self) -> SimulatedGpm:
        """Counters of how long it worked. Raises MeterError where the card has none."""
        if self.spec.activity is None:
            raise MeterError("GPM: the card has none")
        return SimulatedGpm(self)

    def worked_s(self, start_ns: int, end_ns: int) -> float:
        """For how long it worked between two instants (s)."""
        start, end = seconds_of(start_ns), seconds_of(end_ns)
        return sum(max(min(end, work.end) - max(start, work.start), 0.0) for work in self._busy)

    def _at_work(self) -> bool:
        now = self.clock.seconds
        return any(work.start <= now < work.end for work in self._busy)

    def _tell(self, name: str, length_s: float) -> None:
        """A call of telemetry's. Raises MeterError where the card lacks it, or its driver has failed."""
        self._pass(name, self.clock.now, length_s)
        if name in self.spec.lacks:
            raise MeterError(f"{name}: Not Supported")
        if self.clock.seconds >= self.spec.lost_at_s:
            raise MeterError(f"{name}: GPU is lost")

    def _quick_field(self, name: str) -> PowerFields:
        self._tell(name, _FIELD_CALL_S)
        if self._fields is None:
            raise MeterError(f"{self.uuid}: the card does not tell its power")
        return self._fields

    def _pass(self, name: str, began: int, length_s: float) -> None:
        self.clock.now = began + int(length_s * 1e9)
        self.calls.append(Call(name, began, self.clock.now))


class SimulatedGpm:
    """Shares of the time since the last reading, out of the time that the GPU worked. `closed`: given back.

    An H200 told 0 while it worked where two readings were 10 ms apart.
    """

    def __init__(self, gpu: SimulatedGpu) -> None:
        self.gpu, self.closed = gpu, False
        self.faults: dict[str, str] = {}
        self._since: int | None = None

    def restart(self) -> None:
        """Begin anew."""
        self._since = None

    def read(self) -> dict[str, float] | None:
        """Each of `GpuSpec.activity`, as far as the GPU worked; None at the first."""
        since, self._since = self._since, self.gpu.clock.now - round(self.gpu.spec.activity_late_s * 1e9)
        self.gpu._tell("gpm", _GPM_CALL_S)
        if since is None or self._since <= since:
            return None
        seconds = (self._since - since) / 1e9
        share = self.gpu.worked_s(since, self._since) / seconds if seconds >= _GPM_NEAR_S else 0.0
        return {key: value * share for key, value in (self.gpu.spec.activity or {}).items()}

    def close(self) -> None:
        """Give it back."""
        self.closed = True
