"""When the requests of a workload arrive: drawn in advance from its seed, so that every run sees the same traffic."""

from __future__ import annotations

import random
from itertools import accumulate
from math import log1p

from pytest_lem.model.specs import WorkloadSpec


def build_arrivals(workload: WorkloadSpec) -> tuple[float, ...] | None:
    """Seconds after a pass's start at which each request arrives, the first at 0; None where all come together.

    A Poisson process of `target_qps` requests a second: gaps are −ln(1 − u) / rate with u uniform in [0, 1).
    """
    if workload.target_qps is None:
        return None
    # A generator of its own: prompts stay what they are without traffic.
    draw = random.Random(f"arrivals {workload.seed}").random
    gaps = [0.0] + [-log1p(-draw()) / workload.target_qps for _ in range(workload.batch - 1)]
    return tuple(accumulate(gaps))
