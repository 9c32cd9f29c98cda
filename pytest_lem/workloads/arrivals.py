"""When the requests of a workload arrive: drawn in advance from its seed, so that every run sees the same traffic."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from math import inf, log1p, sqrt

from pytest_lem.model.errors import UsageError
from pytest_lem.model.traffic import TrafficSpec

MOST = 1_000_000
"""More requests than this are taken for a mistake: they would be held in memory, prompts and all."""


def build_arrivals(traffic: TrafficSpec, count: int | None, seed: int) -> tuple[float, ...]:
    """Seconds after a pass's start at which each request arrives, in order.

    `constant`: gaps of 1/qps. `poisson`: gaps are −ln(1 − u)/qps with u uniform in [0, 1). `gamma`: gaps have the shape
    `burstiness` and the same mean. The first comes at 0. While the rate climbs (`ramp_seconds`, from 0 in a straight
    line) the same gaps are stretched, so that the integral of the rate up to each arrival stays what it was. `count`
    bounds them where the traffic itself says neither `requests` nor `seconds`.

    Raises UsageError where nothing bounds them.
    """
    times = (_unramped(time, traffic.ramp_seconds) for time in _times(traffic, seed))
    if traffic.seconds is not None:
        most = traffic.seconds
        found = tuple(islice(takewhile(lambda time: time < most, times), MOST + 1))
    else:
        wanted = traffic.requests or count
        if wanted is None:
            raise UsageError("traffic: requests or seconds bound a pass; give one of them")
        found = tuple(islice(times, min(wanted, MOST + 1)))
    if len(found) > MOST:
        raise UsageError(f"traffic: over {MOST} requests in a pass; lower qps, or bound it by requests or seconds")
    return found


def _times(traffic: TrafficSpec, seed: int) -> Iterator[float]:
    gap = _gaps(traffic, seed)
    now = 0.0
    while True:
        yield now
        now += gap()


def _gaps(traffic: TrafficSpec, seed: int) -> Callable[[], float]:
    """The next gap in seconds. A generator of its own: prompts stay what they are without traffic."""
    mean = 1 / (traffic.qps or inf)
    uniform = random.Random(f"arrivals {seed}").random
    if traffic.arrivals == "constant":
        return lambda: mean
    if traffic.arrivals == "gamma":
        from scipy.special import gammaincinv  # slow to import, and rarely needed

        shape = traffic.burstiness or 1.0
        return lambda: float(gammaincinv(shape, uniform())) * mean / shape
    return lambda: -log1p(-uniform()) * mean


def _unramped(time: float, ramp: float) -> float:
    """The moment by which a climbing rate has sent as many as the full rate by `time`: t²/2r = time, then t − r/2."""
    if ramp <= 0:
        return time
    return sqrt(2 * ramp * time) if time < ramp / 2 else time + ramp / 2
