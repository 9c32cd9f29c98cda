"""Plays rounds of drawn work on simulated GPUs under the GPU meter, and compares its joules with the truth."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, expm1, sqrt
from typing import Any

from physics_cases import GLOW_W, Case, Draw, Load
from simulated_counter import CounterSpec, Ticks
from simulated_gpu import GpuSpec, SimulatedGpu, seconds_of
from simulated_power import Idle

from pytest_lem.meters.nvml_meter import GpuMeter
from pytest_lem.model.reading import DeviceReading

ROUNDS = 8
JOULES = ("truth", "joules", "std", "plain", "ideal", "hidden")
TAIL_NS = 200_000_000
HOT_NS = 500_000_000
MeterFactory = Callable[..., GpuMeter]
STEADY = Load(extra_w=400.0, duty=1.0, period_s=0.1)
EVEN = CounterSpec(Ticks(0.1, 0.037))


@dataclass(frozen=True)
class Window:
    """One window: what the GPUs took (J), what the meter said, what a plain counter difference says.

    `ideal` is what the counter gives to one who knows each tick's instant and the idle power exactly, but not how far
    the counter is behind: what is wrong with it no meter can mend. `hidden` is what no meter can know of a decay (J, by
    `hidden_joules`). `fixed_s` is the time that the round took beyond its work, `calls_inside` counts calls to a GPU
    during the work.
    """

    truth: float
    joules: float | None
    std: float | None
    plain: float
    ideal: float
    hidden: float
    fixed_s: float
    calls_inside: int
    faults: tuple[str, ...]

    @property
    def error(self) -> float:
        """Relative error of the meter's joules. Raises ValueError where it gave none."""
        if self.joules is None:
            raise ValueError(f"no joules: {self.faults}")
        return self.joules / self.truth - 1

    @property
    def plain_error(self) -> float:
        """Relative error of the plain counter difference."""
        return self.plain / self.truth - 1

    @property
    def covered(self) -> bool:
        """Whether joules ± 1.96 std holds the truth."""
        return self.joules is not None and self.std is not None and abs(self.joules - self.truth) <= 1.96 * self.std


class Bench:
    """A meter over the GPUs of a draw, and the clock that the caller of the meter lives by."""

    def __init__(self, draw: Draw, *, seed: int = 0, factory: MeterFactory = GpuMeter, parallel: bool = False) -> None:
        self.draw, self._rng = draw, random.Random(seed)
        clocks = [gpu.clock for gpu in draw.gpus]
        self.meter = factory(draw.gpus, clocks=clocks, parallel=parallel, hidden_pids=False, own_pids=lambda: (1,))
        self.readings: tuple[DeviceReading, ...] = ()
        self.span = (0, 0)

    def play(self, phase: int) -> Window:
        """One round: head, work that begins a moment after the named start, tail. Reports it as one window."""
        began = self._meet(self._rng.uniform(5e-3, 50e-3))
        if self.draw.hot:
            self._work(began, began + HOT_NS)
            began = self._meet(self._rng.uniform(2e-3, 10e-3))
        start = self.meter.begin(phase) + self._short(1.5e-3)
        end = start + int(self.draw.seconds * 1e9)
        self._work(start, end)
        self._meet(self._rng.uniform(0.1e-3, 2e-3))
        self.readings = self.meter.end(start, end)
        self.span = (start, end)
        return self._window(began)

    def _work(self, start: int, end: int) -> None:
        for gpu, load in zip(self.draw.gpus, self.draw.loads, strict=True):
            gpu.clock.advance_to(start)
            gpu.work(start, end, load.extra_w, duty=load.duty, period_s=load.period_s)
        for instant in range(start, end, 20_000_000):
            self._advance(instant)
            self.meter.sample()
        self._advance(end)

    def _window(self, began: int) -> Window:
        start, end = self.span
        gpus, joules = self.draw.gpus, [reading.joules for reading in self.readings]
        stds = [reading.std for reading in self.readings if reading.std is not None]
        whole = None not in joules
        return Window(
            truth=sum(gpu.true_joules(start, end) for gpu in gpus),
            joules=sum(value for value in joules if value is not None) if whole else None,
            std=sqrt(sum(std * std for std in stds)) if whole else None,
            plain=sum(_plain(gpu, start, end) for gpu in gpus),
            ideal=sum(_ideal(gpu, start, end) for gpu in gpus),
            hidden=sum(hidden_joules(gpu, end) for gpu in gpus),
            fixed_s=(max(gpu.clock.now for gpu in gpus) - began - (end - start)) / 1e9,
            calls_inside=sum(call.end_ns > start and call.start_ns < end for gpu in gpus for call in gpu.calls),
            faults=tuple(fault for reading in self.readings for fault in reading.faults),
        )

    def _meet(self, pause_s: float) -> int:
        """Bring every clock to the latest one's time and a pause; that instant."""
        instant = max(gpu.clock.now for gpu in self.draw.gpus) + int(pause_s * 1e9)
        self._advance(instant)
        return instant

    def _advance(self, instant: int) -> None:
        for gpu in self.draw.gpus:
            gpu.clock.advance_to(instant)

    def _short(self, longest_s: float) -> int:
        return int(self._rng.uniform(5e-5, longest_s) * 1e9)


def bench_of(
    counter: CounterSpec | None = EVEN, load: Load = STEADY, *, seconds: float = 1.0, seed: int = 0, **spec
) -> Bench:
    """A meter over one GPU with this counter, under work of this load and length."""
    gpu = SimulatedGpu(GpuSpec(counter, **{"idle": Idle(100), **spec}), seed=seed)
    return Bench(Draw((gpu,), (load,), seconds), seed=seed)


def hidden_joules(gpu: SimulatedGpu, end: int) -> float:
    """By how much any meter may be wrong about power that decays after work that ended at `end` (J).

    Field 186 is first clean over the refresh period that begins next, `unseen` after the end. Every decay of 0 to 40 W
    and τ of 0.05 to 2 s that gives that mean explains it as well; they differ in the joules of the unseen time. Half of
    that range is the least error that a meter can promise, even with no noise at all.
    """
    spec = gpu.spec
    if not spec.glow_w or spec.power_ticks is None:
        return 0.0
    refresh, work_end = spec.power_ticks, seconds_of(end)
    unseen = refresh.time(refresh.last(work_end) + 1) - work_end
    seen_w = spec.glow_w * _mean_decay(spec.glow_tau_s, unseen, refresh.tick_s)
    able = [0.05 * 1.05**n for n in range(76)]
    fitting = [(tau, seen_w / _mean_decay(tau, unseen, refresh.tick_s)) for tau in able]
    joules = [watts * tau * -expm1(-unseen / tau) for tau, watts in fitting if watts <= GLOW_W[1]]
    return (max(joules) - min(joules)) / 2 if joules else 0.0


def _mean_decay(tau: float, after: float, length: float) -> float:
    """Mean of exp(−t/τ) over `length` seconds that begin `after` seconds after the work."""
    return exp(-after / tau) * -expm1(-length / tau) * tau / length


def _plain(gpu: SimulatedGpu, start: int, end: int) -> float:
    return gpu.counter_joules(end) - gpu.counter_joules(start) if gpu.spec.counter else 0.0


def _ideal(gpu: SimulatedGpu, start: int, end: int) -> float:
    """Counter between the last tick before the work and the first one 100 ms after it, less true idle.

    The lag stays unknown: nothing tells it while the GPU is idle.
    """
    if gpu.spec.counter is None:
        return 0.0
    head, tail = gpu.tick_before(start), gpu.tick_before(end + TAIL_NS)
    idle = gpu.true_joules(head, start) + gpu.true_joules(end, tail)
    return gpu.counter_joules(tail) - gpu.counter_joules(head) - idle


def play_cycle(case: Case, seed: int, seconds: float, *, factory: MeterFactory = GpuMeter) -> tuple[Window, ...]:
    """Eight rounds of one draw, at the eight phases in turn."""
    bench = Bench(case.draw(seed, seconds), seed=seed, factory=factory)
    windows = tuple(bench.play(phase) for phase in range(ROUNDS))
    bench.meter.close()
    return windows


def play_cycles(
    case: Case, seeds: Iterable[int], seconds: float, *, factory: MeterFactory = GpuMeter
) -> list[tuple[Window, ...]]:
    """A cycle for every seed."""
    return [play_cycle(case, seed, seconds, factory=factory) for seed in seeds]


def columns(case: Case, seconds: float, cycles: Sequence[tuple[Window, ...]]) -> dict[str, Any]:
    """Cycles as the raw JSON keeps them. Raises ValueError where a window has no joules."""
    missing = [window.faults for cycle in cycles for window in cycle if window.joules is None]
    if missing:
        raise ValueError(f"{case.name} at {seconds} s: {len(missing)} windows without joules: {missing[0]}")
    found: dict[str, Any] = {"case": case.name, "says": case.says, "even": case.even, "seconds": seconds}
    for name, digits in (*((column, 2) for column in JOULES), ("fixed_s", 3)):
        found[name] = [[round(getattr(window, name), digits) for window in cycle] for cycle in cycles]
    found["calls_inside"] = sum(window.calls_inside for cycle in cycles for window in cycle)
    return found
