"""How long judging takes: one gate of ten runs by thirty rounds, and a report of two thousand."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from benchmarks.gates.noise import Noise, launch
from pytest_lem.stats import history_gate

REPORT = 2000
Seconds = float


def one_gate(repeats: int = 400) -> Seconds:
    """The median time of one gate."""
    rng = np.random.default_rng(0)
    history = [launch(rng, Noise(), 0.0).tolist() for _ in range(10)]
    candidate = [launch(rng, Noise(), 0.05).tolist()]
    taken = []
    for _ in range(repeats):
        began = perf_counter()
        history_gate(history, candidate)
        taken.append(perf_counter() - began)
    return float(np.median(taken))


def report() -> Seconds:
    """Two thousand gates, each of values of its own, one after the other."""
    rng = np.random.default_rng(0)
    gates = [[launch(rng, Noise(), 0.0).tolist() for _ in range(11)] for _ in range(REPORT)]
    began = perf_counter()
    for *history, candidate in gates:
        history_gate(history, [candidate])
    return perf_counter() - began
