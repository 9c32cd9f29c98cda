"""One GPU through one window: what it told, when, and what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from pytest_lem.meters.gauges import GPM, LATE_S, POWER, SLOWER, SLOWEST, Gauges, Values
from pytest_lem.meters.meter import Clock
from pytest_lem.meters.pace import strides
from pytest_lem.model.errors import MeterError

_TIMED_CALLS = 8


@dataclass(frozen=True)
class Moment:
    """What one GPU told at `time_ns` (monotonic), by key. `since_ns`: where readings over time began, if there are.

    `cpu_s` are the CPU seconds that asking took.
    """

    time_ns: int
    values: Values
    since_ns: int | None = None
    cpu_s: float = 0.0

    @property
    def covers_ns(self) -> int:
        """The time that its readings over time stand for."""
        return 0 if self.since_ns is None else self.time_ns - self.since_ns


@dataclass(eq=False)
class Track:
    """One GPU's `moments` in a window, and why readings are `broken`.

    All that is asked together may take `share` of one core; what is dear is asked less often. `looking` tells when the
    meter reads the GPU's counter, and wants to be alone.
    """

    gauges: Gauges
    clock: Clock
    hertz: float
    share: float
    moments: list[Moment] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    cpu: Callable[[], float] = time.thread_time
    looking: Callable[[], bool] = lambda: False
    _tick: int = 0
    _since_ns: int | None = None
    _plan: dict[str, int] = field(default_factory=dict)

    def restart(self) -> None:
        """Begin a window: a source that failed in the last one is asked again, at the pace that it can afford."""
        self.moments, self.broken, self._tick, self._since_ns = [], {}, 0, None
        costs = {name: source.cost_s for name, source in self.gauges.sources.items()}
        self._plan = strides(costs, SLOWER, self.hertz, self.share, least=SLOWEST, spared=POWER)
        self.gauges.restart()

    def sample(self) -> None:
        """Ask everything whose turn it is. A source that fails is not asked again in this window."""
        now, began = self.clock.now_ns(), self.cpu()
        values: dict[str, float | tuple[str, ...]] = {}
        due = [name for name, stride in self._plan.items() if self._is_due(name, stride)]
        for name in due:
            values.update(self._ask(name) or ())
        self._tick += 1
        since = None
        if GPM in due:
            since, self._since_ns = self._since_ns, now
        if values:
            self.moments.append(Moment(now, values, since, self.cpu() - began))

    def _is_due(self, name: str, stride: int) -> bool:
        """Whether it is this source's turn; GPM's first, where means begin, comes when that is inside the window."""
        since_first = self._tick - (ceil(LATE_S[GPM] * self.hertz - 1e-9) if name == GPM else 0)
        return since_first >= 0 and since_first % stride == 0

    def _ask(self, name: str) -> Values | None:
        source = self.gauges.sources[name]
        try:
            # The clock that tells costs is not free itself: each source's first calls of a window are timed.
            timed = self._tick < _TIMED_CALLS * self._plan[name]
            return source.timed(self.cpu) if timed else source.read()
        except MeterError as error:
            self.broken |= dict.fromkeys(source.keys, str(error))
            del self._plan[name]
            return None

    def missing(self, key: str, *, some: bool) -> str | None:
        """Why `key` has no value or, where there are `some`, no more; None where nothing is known against it."""
        ended = self.gauges.lacking.get(key) or self.broken.get(key)
        return ended if some else ended or self.gauges.fault(key)
