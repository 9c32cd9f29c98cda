"""Watches a GPU's power field while the GPU is idle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_lem.meters.counter import MS
from pytest_lem.meters.idle import PowerOver
from pytest_lem.meters.meter import Clock

REFRESH_NS = 100 * MS
"""How often field 186 gets a new value, the mean of the time since the one before (seen on an H100)."""
READING_STD_W = 1.0
_MARGIN_NS = 5 * MS


@dataclass
class PowerWatch:
    """Collects the values of a power field, each with the time whose mean it is.

    The field keeps a value until its next refresh: the first one seen may be the mean of a time up to two refreshes
    ago.
    """

    read: Callable[[], float]
    clock: Clock
    readings: list[PowerOver] = field(default_factory=list)
    _earliest: list[int] = field(default_factory=list)
    _value: float | None = None
    _seen_ns: int = 0

    def look(self) -> None:
        """Read the field once."""
        value = self.read()
        now = self.clock.now_ns()
        if self._value is None:
            self._add(PowerOver(now - 2 * REFRESH_NS, now, value, 2 * READING_STD_W), now - REFRESH_NS)
        elif value != self._value:
            refreshed = (self._seen_ns + now) // 2
            self._add(PowerOver(refreshed - REFRESH_NS, refreshed, value, READING_STD_W), self._seen_ns)
        self._value, self._seen_ns = value, now

    def clean(self, since_ns: int) -> tuple[PowerOver, ...]:
        """The readings that cover nothing from before `since_ns`, wherever between two looks they were refreshed."""
        pairs = zip(self.readings, self._earliest, strict=True)
        return tuple(reading for reading, earliest in pairs if earliest - REFRESH_NS >= since_ns + _MARGIN_NS)

    def spans(self) -> list[tuple[int, int, float]]:
        """The time that each reading may cover at most (from, to, ns) and its watts."""
        pairs = zip(self.readings, self._earliest, strict=True)
        return [(earliest - REFRESH_NS, reading.end_ns, reading.watts) for reading, earliest in pairs]

    def _add(self, reading: PowerOver, earliest_ns: int) -> None:
        """Keep a reading that was refreshed at `earliest_ns` or later."""
        self.readings.append(reading)
        self._earliest.append(earliest_ns)
