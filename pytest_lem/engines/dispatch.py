"""Whether requests were sent when they were due: where not, the engine saw another traffic than was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_lem.model.latency import RequestTimes
from pytest_lem.workloads.work import Work

# More than this share of the mean gap between arrivals, and the sender itself shapes the traffic.
SHARE = 0.05
PERCENTILE = 95


def dispatch_delays(request_times: Sequence[RequestTimes]) -> list[float]:
    """How long after it was due each request was sent, in ms; of those whose engine tells both."""
    return [
        times.sent_ms - times.due_ms
        for times in request_times
        for _ in range(times.count)
        if times.sent_ms is not None and times.due_ms is not None
    ]


def dispatch_fault(request_times: Sequence[RequestTimes], work: Work) -> str | None:
    """In words, that the 95th percentile of dispatch delays is over 5 % of the mean gap between arrivals; or None.

    Such a run hides how slow an engine is, because it is asked less than was meant (coordinated omission). In waves
    and in a closed loop a request is due when the one before it is answered: nothing can be late there.
    """
    if work.submission != "open" or len(work.requests) < 2:
        return None
    delays = dispatch_delays(request_times)
    if not delays:
        return "dispatch: the engine did not tell when requests were sent, so that nobody knows the traffic it had"
    arrivals = [request.arrival_s or 0.0 for request in work.requests]
    gap_ms = 1e3 * (max(arrivals) - min(arrivals)) / (len(arrivals) - 1)
    # The nearest rank: a few requests are judged by the latest of them.
    late = sorted(delays)[math.ceil(PERCENTILE / 100 * len(delays)) - 1]
    if late <= SHARE * gap_ms:
        return None
    return (
        f"dispatch: requests were sent up to {late:.3g} ms late (p{PERCENTILE}), over {SHARE:.0%} of the mean gap of "
        f"{gap_ms:.3g} ms between arrivals; take a lower rate, or leave the machine to this run"
    )
