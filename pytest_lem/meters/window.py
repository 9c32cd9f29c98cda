"""Arithmetic of a window's edges and ticks: joules between two instants and how sure they are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot, sqrt

from pytest_lem.model.reading import Edge

NS = 1e9
MIN_WINDOW_S = 1.0
"""Below this no joules are given: the edges' ticks outweigh the window."""

PHASE_SPREAD = 0.039
"""How far apart an H100's counter puts equal work at eight phases against its tick (largest − smallest mean)."""


@dataclass(frozen=True)
class Joules:
    """Energy and its standard uncertainty (J, k = 1)."""

    joules: float
    std: float


@dataclass(frozen=True)
class PowerPoint:
    """Power (W) that a sensor told for the time around `time_ns`."""

    time_ns: int
    watts: float


def head_tail(
    head: Edge, tail: Edge, start_ns: int, end_ns: int, *, tick_s: float, phase_spread: float = PHASE_SPREAD
) -> Joules:
    """Energy of the work between `start_ns` and `end_ns`, from two counter ticks in the idle time around it.

    E = E1 − E0 − P_head (t_s − t0) − P_tail (t1 − t_e). Each edge adds (P σ_t)² + (t σ_P)² to the variance, uneven
    weighting inside a tick adds `weighting_std`. `tick_s` is the counter's period. Raises ValueError where the window
    does not lie between its edges.
    """
    if not head.time_ns <= start_ns < end_ns <= tail.time_ns:
        raise ValueError("the window must lie between its head and its tail")
    head_s, tail_s = (start_ns - head.time_ns) / NS, (tail.time_ns - end_ns) / NS
    joules = tail.joules - head.joules - head.power_w * head_s - tail.power_w * tail_s
    seconds = (end_ns - start_ns) / NS
    uneven = weighting_std(joules / seconds * min(tick_s, seconds), phase_spread)
    return Joules(joules, hypot(edge_std(head, head_s), edge_std(tail, tail_s), uneven))


def edge_std(edge: Edge, idle_s: float) -> float:
    """Standard uncertainty (J) of one edge that lies `idle_s` seconds from the work: (P σ_t)² + (t σ_P)², rooted."""
    return hypot(edge.power_w * edge.time_std_ns / NS, idle_s * edge.power_std_w)


def weighting_std(tick_joules: float, phase_spread: float) -> float:
    """Standard uncertainty (J) from a counter that does not weigh all of its tick alike.

    The work begins and ends inside two ticks of `tick_joules` each. The phase of either against the tick is anything,
    so the error is taken as uniform over the spread: a range divided by √12. Both edges are added, not squared and
    added: work whose length is a whole number of ticks has both at the same phase.
    """
    return 2 * abs(tick_joules) * phase_spread / sqrt(12)


def series_joules(
    points: Sequence[PowerPoint], start_ns: int, end_ns: int, *, idle_w: float, period_s: float
) -> Joules:
    """Energy between two instants from a power sensor's own readings: the trapezoid rule, out to the window's edges.

    A reading is the mean of a `period_s` around its time. Only readings of the work alone count, the first held back to
    the window's start and the last held on to its end: a line drawn to the reading before the work would cut its
    corner. Work may have changed by as much as (P − `idle_w`) during the unseen time at either edge, at most one
    `period_s`: uniform, hence the √12. Raises ValueError where no reading lies inside.
    """
    half = period_s * NS / 2
    inside = [point for point in points if start_ns + half <= point.time_ns <= end_ns - half]
    if not inside:
        raise ValueError("no power reading lies inside the window")
    joules = sum((a.watts + b.watts) / 2 * (b.time_ns - a.time_ns) / NS for a, b in pairwise(inside))
    joules += (
        inside[0].watts * (inside[0].time_ns - start_ns) / NS + inside[-1].watts * (end_ns - inside[-1].time_ns) / NS
    )
    corners = [abs(point.watts - idle_w) * period_s / sqrt(12) for point in (inside[0], inside[-1])]
    return Joules(joules, hypot(*corners, _step_std(inside)))


def _step_std(inside: Sequence[PowerPoint]) -> float:
    """Error (J) of straight lines between readings: each step's half corner, uniform, independent of the others."""
    steps = [(b.watts - a.watts) * (b.time_ns - a.time_ns) / NS / 2 for a, b in pairwise(inside)]
    return sqrt(sum(step * step for step in steps) / 3)


def wrapped_difference(later: int, earlier: int, wrap: int) -> int:
    """What a counter that starts again at 0 after `wrap` has counted; at most one wrap is seen."""
    return later - earlier if later >= earlier else later - earlier + wrap + 1
