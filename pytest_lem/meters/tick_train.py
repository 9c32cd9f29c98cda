"""The counter's ticks as a train with one period: dates a tick that a slow call blurred by its sharper neighbours."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from math import sqrt
from statistics import median

_JITTER_NS = 1.5e6
_MIN_JITTER_NS = 1.5e6
_JITTER_WEIGHT = 4
_SURE = 0.18
"""Periods in a gap are counted when the whole gap is known to this part of a period (standard uncertainty)."""
_LOST = 0.08
_SHARP_NS = 3e6
_ORDINARY = 0.5
"""A tick between two calls of equal length is known to 0.37 of it; a little more is as sharp as it gets."""
_MIN_CALLS = 16
_AGEING = 1.02
_FORESEEN = 0.08
_ASTRAY = 3.0
"""A tick this many standard uncertainties outside its time is none of the train's: the counter stood still before."""
_EARLY_CALLS = 1.4
_LATE_CALLS = 2.5
BEHIND_NS = 5_000_000
"""An H100's counter follows a load step within about 10 ms: a tick stands for what was 5 ms before it, on average."""


@dataclass(frozen=True)
class Tick:
    """A change of the counter: when (middle of what is possible, standard uncertainty), and what it shows since.

    It happened at most `half_ns` before or after `time_ns`, and added `added` joules.
    """

    time_ns: int
    std_ns: float
    joules: float
    half_ns: float = 0.0
    added: float = 0.0


@dataclass
class TickTrain:
    """Learns the period of one counter, and how far its ticks stray from it, from the sharp ticks of all windows."""

    period_ns: float | None = None
    calls: deque[int] = field(default_factory=lambda: deque(maxlen=64))
    _period_std: float = 0.0
    _dated: deque[Tick] = field(default_factory=lambda: deque(maxlen=6))
    _sharp: deque[Tick] = field(default_factory=lambda: deque(maxlen=6))
    _run: list[Tick] = field(default_factory=list)
    _strays: deque[float] = field(default_factory=lambda: deque(maxlen=32))

    def date(self, tick: Tick, *, neighbours: bool) -> Tick:
        """`tick` with its time told by itself and by the earlier tick that tells it best; the train takes it in.

        `neighbours` says that it came right after the last one dated.
        """
        better = self._better(tick)
        self._count_run(tick, neighbours)
        if max(tick.std_ns, better.std_ns) <= self.sharp_ns:
            self._learn(tick, neighbours)
        self._dated.append(better)
        return better

    def next_tick(self, after_ns: int) -> tuple[int, int] | None:
        """From when to when (ns) the first tick at `after_ns` or later should show; None where that is not sure."""
        guesses = [guess for guess in (self._guess(tick, after_ns) for tick in self._dated) if guess]
        if not guesses or self.period_ns is None or not self.calls:
            return None
        time, variance = min(guesses, key=lambda guess: guess[1])
        if sqrt(variance) > _FORESEEN * self.period_ns:
            return None
        shown = BEHIND_NS + (time if time >= after_ns else time + self.period_ns)
        call, sigma = median(self.calls), sqrt(variance)
        return round(shown - _EARLY_CALLS * call - 2.5 * sigma), round(shown + _LATE_CALLS * call + 3 * sigma)

    @property
    def sharp_ns(self) -> float:
        """The standard uncertainty of a tick that two ordinary calls enclose: 3 ms, more where all `calls` are slow."""
        known = len(self.calls) >= _MIN_CALLS
        return max(_SHARP_NS, _ORDINARY * median(self.calls)) if known else _SHARP_NS

    @property
    def _jitter_variance(self) -> float:
        """Mean square of what gaps stray beyond what is unsure of them, with a prior of 1.5 ms."""
        mean = (_JITTER_WEIGHT * _JITTER_NS**2 + sum(self._strays)) / (_JITTER_WEIGHT + len(self._strays))
        return max(mean, _MIN_JITTER_NS**2)

    def _better(self, tick: Tick) -> Tick:
        if self.period_ns is not None and 2.5 * tick.half_ns >= self.period_ns:
            return replace(tick, std_ns=max(tick.half_ns, tick.std_ns))
        guesses = [guess for guess in (self._guess(earlier, tick.time_ns) for earlier in self._dated) if guess]
        if not guesses:
            return tick
        time, variance = min(guesses, key=lambda guess: guess[1])
        astray = abs(time - tick.time_ns) - tick.half_ns
        if astray > sqrt(variance):
            return replace(tick, std_ns=max(tick.std_ns, astray)) if astray > _ASTRAY * sqrt(variance) else tick
        own = tick.std_ns**2
        middle = tick.time_ns + (time - tick.time_ns) * own / (own + variance)
        return replace(tick, time_ns=round(middle), std_ns=sqrt(own * variance / (own + variance)))

    def _guess(self, earlier: Tick, time_ns: int) -> tuple[float, float] | None:
        """Where `earlier` says the tick near `time_ns` should be, and the variance; None where that is not sure."""
        count = self._count(time_ns - earlier.time_ns)
        if count is None or self.period_ns is None:
            return None
        variance = earlier.std_ns**2 + self._jitter_variance + (count * self._period_std) ** 2
        return earlier.time_ns + count * self.period_ns, variance

    def _count(self, gap_ns: int) -> int | None:
        """How many periods a gap holds; None when that is not sure."""
        if self.period_ns is None:
            return None
        count = round(gap_ns / self.period_ns)
        return count if count * self._period_std < _SURE * self.period_ns else None

    def _learn(self, tick: Tick, neighbours: bool) -> None:
        """Learn the period from the longest gap between sharp ticks whose periods can be counted."""
        anchors = list(self._sharp)
        self._sharp.append(tick)
        if self.period_ns is None:
            if anchors and neighbours and self._dated[-1].joules == anchors[-1].joules:
                self._start(tick.time_ns - anchors[-1].time_ns, tick.std_ns**2 + anchors[-1].std_ns ** 2)
            return
        for anchor in anchors:
            gap, variance = tick.time_ns - anchor.time_ns, tick.std_ns**2 + anchor.std_ns**2
            count = self._count(gap)
            if count:
                stray = gap - count * self.period_ns
                self._strays.append(stray**2 - variance - (count * self._period_std) ** 2)
                self._weigh(gap / count, (variance + self._jitter_variance) / count**2)
                self._recover()
                return

    def _count_run(self, tick: Tick, neighbours: bool) -> None:
        """Learn the period from sharp ticks that came one right after the other: those need no counting."""
        sharp = tick.std_ns <= self.sharp_ns
        self._run = [*(self._run if neighbours else ()), tick] if sharp else []
        count = len(self._run) - 1
        if count >= 2 and self.period_ns is not None:
            variance = self._run[0].std_ns ** 2 + tick.std_ns**2 + self._jitter_variance
            self._weigh((tick.time_ns - self._run[0].time_ns) / count, variance / count**2)

    def _start(self, gap_ns: int, variance: float) -> None:
        """Take the first period from one gap, the ticks' own jitter being unknown."""
        self.period_ns, self._period_std = gap_ns, sqrt(variance + 4 * _JITTER_NS**2)

    def _recover(self) -> None:
        """Begin again where ticks stray so much that periods must have been miscounted."""
        if self.period_ns is not None and self._jitter_variance > (_LOST * self.period_ns) ** 2:
            self.period_ns = None
            self._strays.clear()

    def _weigh(self, period_ns: float, variance: float) -> None:
        """Take in a period if it is surer than the one known, which ages. Gaps share ticks: they can't be averaged."""
        if variance < self._period_std**2:
            self.period_ns, self._period_std = period_ns, sqrt(variance)
        else:
            self._period_std *= _AGEING
