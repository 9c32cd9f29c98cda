"""Which requests met the service level that was promised (SLO), and how many of them that makes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lem.model.latency import RequestTimes
from pytest_lem.model.round import Round
from pytest_lem.model.slo import ServiceLevel

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Kept:
    """Of `all` requests, `good` ones met every bound; `percentile` % of them have to."""

    good: float
    all: float
    percentile: float

    @property
    def share(self) -> float:
        """The share of good requests."""
        return self.good / self.all if self.all else 0.0

    @property
    def met(self) -> bool:
        """Whether enough requests were good."""
        return self.share >= self.percentile / 100 - _ROUNDING


def is_good(times: RequestTimes, slo: ServiceLevel) -> bool:
    """Whether a request met every bound of the service level, as vLLM's goodput has it.

    A request of one token has no time per output token, and passes that bound. Where the engine does not tell when it
    answered, the last token's time stands for that.
    """
    e2e = times.ttft_ms + sum(times.gaps_ms) if times.e2e_ms is None else times.e2e_ms
    found = ((times.ttft_ms, slo.ttft_ms), (times.tpot_ms or 0.0, slo.tpot_ms), (e2e, slo.e2el_ms))
    return all(bound is None or value <= bound for value, bound in found)


def kept(round_: Round, requests: Sequence[RequestTimes], slo: ServiceLevel) -> Kept:
    """How many requests of a round were good.

    In a window that was cut out of traffic each counts by its part inside, as in `Round.requests`.
    """
    import numpy as np  # slow to import, and gates on joules do without

    from pytest_lem.flow import is_timed, shares_inside

    weights = np.array([times.count for times in requests], dtype=float)
    if round_.served is not None and is_timed(requests):
        begin = round_.served.start_ns
        weights *= shares_inside(requests, (round_.start_ns - begin) / 1e9, (round_.end_ns - begin) / 1e9)
    good = np.array([is_good(times, slo) for times in requests])
    return Kept(float(weights[good].sum()), float(weights.sum()), slo.percentile)


def added(parts: Sequence[Kept]) -> Kept:
    """All of them together."""
    return Kept(sum(part.good for part in parts), sum(part.all for part in parts), parts[0].percentile)
