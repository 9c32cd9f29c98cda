"""Which noise is simulated: the grid of the goals, and what else launches may be like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from benchmarks.gates.noise import Noise
from benchmarks.gates.traces import Cell

CVS = (0.03, 0.08, 0.15)
GRID = [
    Noise(cv=cv, between=between, phi=phi) for cv, between, phi in product(CVS, (0.01, 0.02, 0.03), (0.0, 0.5, 0.8))
]
LADDER = [Noise(cv=cv) for cv in (0.03, 0.05, 0.08, 0.15)]
RUNS = (3, 5, 10)
FAMILIES = {
    "heavy tails: rounds of Student's t, 2 df": Noise(tails=2.0, outliers=0.0),
    "heavy tails, 3 df, and outliers": Noise(tails=3.0),
    "two states, the second +3 %, 3 in 10 launches": Noise(states=(0.3, 0.03)),
    "two states, +5 %, 3 in 10": Noise(states=(0.3, 0.05)),
    "two states, +8 %, 3 in 10": Noise(states=(0.3, 0.08)),
    "two states, +8 %, 1 in 10": Noise(states=(0.1, 0.08)),
    "two states, +15 %, 1 in 10": Noise(states=(0.1, 0.15)),
    "cold first launch +5 %, 1 in 4": Noise(cold=(0.25, 0.05)),
    "cold first launch +12 %, 1 in 4": Noise(cold=(0.25, 0.12)),
}
LATE = {
    "cold candidate +5 %, never a cold run accepted": (1.0, 0.05),
    "cold candidate +8 %, never a cold run accepted": (1.0, 0.08),
    "cold candidate +12 %, never a cold run accepted": (1.0, 0.12),
}


def cells(traces: int) -> Iterator[Cell]:
    """All cells; `traces` of each that asks for chances of some per cent, twice as many for those of one."""
    for noise in GRID:
        yield Cell("false alarms", noise, traces=2 * traces)
        yield Cell("false alarms, own noise", replace(noise, common=0.0), traces=traces)
        yield Cell("said OK", noise, change=0.10, traces=traces)
        for runs in (3, 10):
            yield Cell("history", noise, runs, traces=2 * traces)
    for noise in LADDER:
        for common in (1.0, 0.5, 0.0):
            yield Cell("seen", replace(noise, common=common), change=0.10, traces=traces)
        for runs in RUNS:
            yield Cell("history", noise, runs, change=0.20, traces=traces)
            yield Cell("detectable", noise, runs, traces=traces)
        for change in (0.0, 0.10):
            yield Cell("peers", noise, 1, change, traces=traces)
            yield Cell("beside peers", noise, 5, change, traces=traces)
    for noise, between in product(LADDER, (0.01, 0.03)):
        yield Cell("detectable, runs unlike the prior", replace(noise, between=between), traces=traces)
    for says, noise in FAMILIES.items():
        yield Cell("family", noise, traces=2 * traces, says=says)
    for says, cold in LATE.items():
        yield Cell("late", Noise(), traces=2 * traces, says=says, candidate=Noise(cold=cold))
