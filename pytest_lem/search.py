"""The cheapest of some ordered settings that keeps a service level, with few of them measured. Pure.

Two things are taken for granted. A service level that is missed at a load is missed at any higher one: the highest
setting that keeps it is found by halving. Cost falls to one lowest stretch and rises behind it (it is unimodal: a batch
shares the weights' traffic until something else is full): the slope between two neighbours says on which side it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import hypot

from pytest_lem.model.search import SearchPoint, Setting

Measure = Callable[[Setting], SearchPoint]


class Settings:
    """The settings in order of load, each measured once, when it is first asked for."""

    def __init__(self, values: Sequence[Setting], measure: Measure, *, higher_is_better: bool) -> None:
        self._values = values
        self._measure = measure
        self._sign = -1.0 if higher_is_better else 1.0
        self._known: dict[int, SearchPoint] = {}

    def __len__(self) -> int:
        return len(self._values)

    @property
    def points(self) -> tuple[SearchPoint, ...]:
        """What was measured, in the order in which it was."""
        return tuple(self._known.values())

    @property
    def measured(self) -> tuple[int, ...]:
        """The places of what was measured."""
        return tuple(self._known)

    def point(self, index: int) -> SearchPoint:
        """The point of a setting, measured now if it never was."""
        if index not in self._known:
            self._known[index] = self._measure(self._values[index])
        return self._known[index]

    def slope(self, left: int, right: int) -> int:
        """1 where the cost rises from `left` to `right`, −1 where it falls, 0 where their intervals do not tell.

        Half-widths of independent intervals add in quadrature.
        """
        a, b = self.point(left), self.point(right)
        rise = self._sign * (_cost(b) - _cost(a))
        unsure = hypot(_half(a), _half(b))
        return 0 if abs(rise) <= unsure else (1 if rise > 0 else -1)

    def cost(self, index: int) -> float:
        """The objective, so that lower is better."""
        return self._sign * _cost(self.point(index))


def cheapest(settings: Settings) -> int | None:
    """The place of the best setting that keeps its bounds; None where none does. Measures as few as it can."""
    last = highest_kept(settings)
    return None if last is None else lowest(settings, last)


def highest_kept(settings: Settings) -> int | None:
    """The highest load that keeps its bounds, by halving; None where the lowest does not."""
    low, high = -1, len(settings) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if settings.point(middle).meets:
            low = middle
        else:
            high = middle - 1
    return None if low < 0 else low


def lowest(settings: Settings, last: int) -> int:
    """The place of the lowest cost from 0 to `last`: first at that end, where it often is, then by halving."""
    if last == 0 or settings.slope(last - 1, last) < 0:
        return last
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        slope = _sure_slope(settings, middle, middle + 1, low, high)
        if slope > 0:
            high = middle
        else:
            low = middle + 1
    # Neighbours that the intervals could not tell apart may have led astray: what was measured decides.
    known = [index for index in settings.measured if index <= last]
    return min(known, key=settings.cost)


def ties(points: Iterable[SearchPoint], best: SearchPoint) -> tuple[Setting, ...]:
    """The settings that keep their bounds, and whose difference to the best lies within both intervals."""
    return tuple(
        point.value
        for point in points
        if point.meets and point is not best and abs(_cost(point) - _cost(best)) <= hypot(_half(point), _half(best))
    )


def front(points: Iterable[SearchPoint], *, higher_is_better: bool) -> tuple[Setting, ...]:
    """The Pareto front: settings for which no other has both a better objective and a lower latency."""
    sign = -1.0 if higher_is_better else 1.0
    known = [
        (sign * point.objective, point.latency_ms, point.value)
        for point in points
        if point.objective is not None and point.latency_ms is not None
    ]
    found = [
        value
        for cost, latency, value in known
        if not any((c <= cost and t <= latency) and (c < cost or t < latency) for c, t, _ in known)
    ]
    return tuple(sorted(found))


def _sure_slope(settings: Settings, left: int, right: int, low: int, high: int) -> int:
    """The slope between two neighbours, or across a wider stretch where they are too alike; the estimate at last."""
    while (slope := settings.slope(left, right)) == 0 and (left > low or right < high):
        left, right = max(low, left - 1), min(high, right + 1)
    return slope or (1 if settings.cost(right) > settings.cost(left) else -1)


def _cost(point: SearchPoint) -> float:
    return float("inf") if point.objective is None else point.objective


def _half(point: SearchPoint) -> float:
    """Half the width of the interval; 0 where there is none."""
    return 0.0 if point.low is None or point.high is None else (point.high - point.low) / 2
