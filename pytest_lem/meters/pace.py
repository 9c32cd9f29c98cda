"""How often each reading is taken, so that all of them together cost no more than they may."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

HERTZ = 20.0
MOST_HERTZ = 100.0
LEAST_HERTZ = 1.0
"""A reading is taken at least this often, whatever it costs: a window of seconds wants a few."""
_SPARED = 4.0


def strides(
    costs: Mapping[str, float],
    most: Mapping[str, float],
    hertz: float,
    share: float,
    *,
    least: Mapping[str, float] | None = None,
    spared: str = "",
) -> dict[str, int]:
    """Reading → every how many ticks it is taken, ticks coming `hertz` times a second.

    `costs` are CPU seconds of one reading each, `most` the highest rate (Hz) that makes sense for some of them. What
    takes most is asked half as often, again and again, until all together take at most `share` of one core, or come
    once a second, or at their own `least` rate. `spared` gives way when it takes four times as much as any other: it is
    worth more, and yet what is cheap need not be asked less where that saves nothing.
    """
    found = {name: max(1, ceil(hertz / most.get(name, hertz) - 1e-9)) for name in costs}
    slowest = {name: max(found[name], int(hertz / (least or {}).get(name, LEAST_HERTZ))) for name in costs}
    while _load(costs, found, hertz) > share:
        movable = [name for name, stride in found.items() if stride < slowest[name]]
        if not movable:
            break
        dearest = max(movable, key=lambda name: costs[name] / found[name] / (_SPARED if name == spared else 1.0))
        found[dearest] = min(2 * found[dearest], slowest[dearest])
    return found


def _load(costs: Mapping[str, float], found: Mapping[str, int], hertz: float) -> float:
    return sum(cost * hertz / found[name] for name, cost in costs.items())
