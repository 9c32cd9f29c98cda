"""The two sensors of a simulated GPU: a total-energy counter that ticks, and power fields that refresh."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from simulated_power import PowerCurve


@dataclass(frozen=True)
class Ticks:
    """Instants `phase_s + n tick_s`, each moved by a jitter of its own (uniform, at most `jitter_s` either way)."""

    tick_s: float
    phase_s: float = 0.0
    jitter_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_s < self.tick_s / 2:
            raise ValueError(f"jitter {self.jitter_s} s must stay below half the tick, {self.tick_s / 2} s")

    def time(self, n: int) -> float:
        """When tick `n` happens."""
        exact = self.phase_s + n * self.tick_s
        if not self.jitter_s:
            return exact
        return exact + self.jitter_s * random.Random(self.seed * 1_000_003 + n).uniform(-1, 1)

    def last(self, t: float) -> int:
        """The number of the last tick at or before `t`."""
        n = math.floor((t - self.phase_s) / self.tick_s) + 1
        while self.time(n) > t:
            n -= 1
        return n


@dataclass(frozen=True)
class CounterSpec:
    """How a total-energy counter behaves.

    At each tick it takes in the tick just past, as it was `lag_s` ago. `part` of 1 weighs the tick evenly; less, and
    it takes the mean power of just that part of the tick (beginning `part_from` of a tick after its start) for the
    whole of it. `restarts` are instants at which it falls to zero, `jumps` pairs (instant, joules) that it adds there
    (negative: backwards), `stuck` intervals in which it shows what it showed at their beginning.
    """

    ticks: Ticks
    lag_s: float = 0.0
    part: float = 1.0
    part_from: float = 0.0
    offset_j: float = 1e6
    restarts: tuple[float, ...] = ()
    jumps: tuple[tuple[float, float], ...] = ()
    stuck: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.part <= 1 or not 0 <= self.part_from <= 1 - self.part + 1e-12:
            raise ValueError(f"the part {self.part} from {self.part_from} does not lie inside a tick")


@dataclass
class Counter:
    """A total-energy counter over a power curve, from time 0 on. Ask in any order, never ahead of the played work."""

    spec: CounterSpec
    curve: PowerCurve
    _taken: list[float] = field(default_factory=lambda: [0.0])

    def millijoules(self, t: float) -> int:
        """What the counter shows at instant `t`."""
        for begin, end in self.spec.stuck:
            if begin <= t < end:
                t = begin
        since = max((at for at in self.spec.restarts if at <= t), default=None)
        if since is None:
            since, joules = -math.inf, self.spec.offset_j + self._counted(t)
        else:
            joules = self._counted(t) - self._counted(since)
        joules += sum(step for at, step in self.spec.jumps if since <= at <= t)
        return math.floor(joules * 1000)

    def _counted(self, t: float) -> float:
        """Joules taken in by the last tick at or before `t`, since the first tick after time 0."""
        spec, first = self.spec, self._first
        n = max(spec.ticks.last(t), first)
        if spec.part == 1:
            return self.curve.joules(spec.ticks.time(first) - spec.lag_s, spec.ticks.time(n) - spec.lag_s)
        while len(self._taken) <= n - first:
            self._taken.append(self._taken[-1] + self._increment(first + len(self._taken)))
        return self._taken[n - first]

    def _increment(self, n: int) -> float:
        """What tick `n` adds: the mean power over its part, times its whole length."""
        spec = self.spec
        begin, end = spec.ticks.time(n - 1), spec.ticks.time(n)
        length = end - begin
        seen = begin + spec.part_from * length - spec.lag_s
        return self.curve.joules(seen, seen + spec.part * length) / spec.part

    @property
    def _first(self) -> int:
        return self.spec.ticks.last(0.0) + 1


@dataclass
class PowerFields:
    """Power as NVML's fields tell it, refreshed at `ticks`: "instant" (186) and a running average over 1 s (185).

    What an H100 calls an instant is the mean over the refresh period just past; `averages` false makes it one.
    """

    ticks: Ticks
    curve: PowerCurve
    noise_w: Callable[[], float]
    averages: bool = True
    _seen: dict[int, float] = field(default_factory=dict)

    def instant(self, t: float) -> float:
        """Field 186: the value of the last refresh, with that refresh's noise, in whole milliwatts."""
        n = self.ticks.last(t)
        if n not in self._seen:
            self._seen[n] = round(self._refreshed(n) + self.noise_w(), 3)
        return self._seen[n]

    def average(self, t: float) -> float:
        """Field 185: the mean power of the second before the last refresh, in whole milliwatts."""
        refreshed = self.ticks.time(self.ticks.last(t))
        return round(self.curve.joules(refreshed - 1.0, refreshed), 3)

    def _refreshed(self, n: int) -> float:
        before, now = self.ticks.time(n - 1), self.ticks.time(n)
        return self.curve.joules(before, now) / (now - before) if self.averages else self.curve.watts(now)
