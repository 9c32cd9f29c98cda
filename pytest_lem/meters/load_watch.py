"""Watches one GPU's energy counter tick while the GPU works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_lem.meters.counter import MS, Counter, Look, tick_between
from pytest_lem.meters.polling import STILL_NS
from pytest_lem.meters.power_watch import REFRESH_NS
from pytest_lem.meters.tick_train import Tick, TickTrain

PACE_NS = 8 * MS
"""How far looks for a tick are apart. A call takes 1.5 ms of a core: about three of them a tick take 4 % of one, which
an engine does not miss, and tell when it was to 2.5 ms: 1 J at 500 W. Looks every 20 ms all the time would take twice
that and tell less."""
_NAP_NS = 20 * MS
_ASIDE_NS = 5 * MS
_LOST = 0.5
STILL = "the energy counter stood still while the engine worked"
BACKWARDS = "the energy counter ran backwards while the engine worked"


@dataclass
class LoadWatch:
    """The ticks of `counter` while the GPU works, ten a second, foreseen by the `train` that idle times have taught.

    A tick that came in the time between two looks far apart is left out: the counter goes on, and nothing is lost.
    """

    counter: Counter
    train: TickTrain
    ticks: list[Tick] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _last: Look | None = None
    _adjacent: bool = False
    _rests_until_ns: int = 0

    @property
    def looking(self) -> bool:
        """Whether the counter is being read, or will be before another reader is done."""
        return self.counter.clock.now_ns() > self._rests_until_ns - _ASIDE_NS

    def run(self, stopped: Callable[[], bool]) -> None:
        """Watch until `stopped()`. Raises MeterError where the counter cannot be read."""
        ticked = self.counter.clock.now_ns()
        while not stopped():
            tick, ended = self._look()
            if tick:
                ticked = ended
                self._nap(stopped)
            elif ended - ticked > STILL_NS:
                self._note(STILL)
                ticked = ended
            else:
                self.counter.clock.sleep_until_ns(ended - self._call_ns + self._pace_ns)

    @property
    def _pace_ns(self) -> int:
        """A counter that ticks faster is looked at more closely, for one of its ticks in 100 ms."""
        return min(PACE_NS, round((self.train.period_ns or REFRESH_NS) / 8))

    @property
    def _call_ns(self) -> int:
        return self._last.length_ns if self._last else 0

    def _nap(self, stopped: Callable[[], bool]) -> None:
        """Leave the counter alone until shortly before its next tick."""
        clock = self.counter.clock
        rest = REFRESH_NS - (self.train.period_ns or REFRESH_NS)
        foreseen = self.train.next_tick(clock.now_ns() + PACE_NS + max(round(rest), 0))
        if foreseen is None:
            return
        self._rests_until_ns = foreseen[0]
        while not stopped() and clock.now_ns() < foreseen[0]:
            clock.sleep_until_ns(min(foreseen[0], clock.now_ns() + _NAP_NS))
        self._last, self._adjacent = None, False  # what the counter shows next says nothing of when it began to

    def _look(self) -> tuple[bool, int]:
        """Ask the counter; whether it has ticked since it was asked last, and when that was known (ns)."""
        look = self.counter.look()
        self.train.calls.append(look.length_ns)
        before, self._last, shown = self._last, look, self.counter.shown
        if shown is None or look.millijoules != shown.millijoules:
            self.counter.shown = look
        if shown is not None and look.millijoules < shown.millijoules:
            self._note(BACKWARDS)
            self.ticks.clear()
            self._adjacent = False
        elif before is not None and look.millijoules > before.millijoules:
            self._take(before, look)
            return True, look.ended_ns
        return False, look.ended_ns

    def _take(self, before: Look, look: Look) -> None:
        if look.middle_ns - before.middle_ns > _LOST * (self.train.period_ns or REFRESH_NS):
            self._adjacent = False
            return
        self.ticks.append(self.train.date(tick_between(before, look), neighbours=self._adjacent))
        self._adjacent = True

    def _note(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)
