"""A baseline as a gate asks it: what an experiment's accepted runs came to, and on what they were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytest_lem.fingerprint import Match, differences
from pytest_lem.model.baseline import BaselineEntry, BaselineMetric, BaselineRun
from pytest_lem.model.metrics import METRICS

FIRST = 3
"""Runs that an epoch begins with: what a slow creep is measured against."""
NEEDED_RUNS = 3
"""Before them a gate knows too little of how runs spread, and cannot fail."""
NEEDED_ROUNDS = 8
_PAIRS = 10  # rounds of a launch, warm-up included, that say something of when it became steady


@dataclass(frozen=True)
class Warmup:
    """How many first rounds of a launch are its warm-up, counted from its very first; None: it never became steady.

    0 leaves it at what the protocol took for warm-up.
    """

    rounds: int | None

    def settled(self, values: Sequence[float], warmup: Sequence[float]) -> tuple[float, ...]:
        """Those of a launch's measured `values` that come after its warm-up.

        What the protocol took for warm-up never counts as measured: its rounds were still being fitted to their length.
        """
        return tuple(values[max(0, (self.rounds or 0) - len(warmup)) :])


@dataclass(frozen=True)
class Matched:
    """The accepted runs that a candidate can be compared with, oldest first, and the `boards` they ran on.

    Where there are runs but none of them can be compared, `differences` says how the newest one differs.
    """

    history: tuple[BaselineMetric, ...] = ()
    boards: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Baseline:
    """The runs of a baseline's newest epoch, in the order in which they were accepted.

    `name` is what the user calls it, `place` its folder or file.
    """

    name: str
    place: Path
    runs: tuple[BaselineRun, ...]

    @property
    def epoch(self) -> int:
        """Which epoch these runs are of, from 1."""
        return self.runs[-1].epoch if self.runs else 1

    @property
    def measured(self) -> tuple[tuple[str, str], ...]:
        """Every experiment of these runs with the name of the measurement."""
        return tuple(self._entries)

    def entries(self, test: str, name: str) -> list[BaselineEntry]:
        """What each run has of it, oldest first."""
        return list(self._entries.get((test, name), ()))

    def history(self, test: str, name: str, metric: str) -> list[BaselineMetric]:
        """The metric in each run that has it, oldest first, wherever it was measured."""
        return [entry.metrics[metric] for entry in self.entries(test, name) if metric in entry.metrics]

    def fingerprints(self, test: str, name: str) -> list[dict[str, str]]:
        """What each run that has it was measured on, oldest first."""
        return [entry.fingerprint for entry in self.entries(test, name)]

    def first_runs(self, test: str, name: str, metric: str, count: int = FIRST) -> list[BaselineMetric]:
        """The metric in the runs that the epoch began with."""
        return self.history(test, name, metric)[:count]

    def matched(self, test: str, name: str, metric: str, now: Mapping[str, str], *, match: Match = "board") -> Matched:
        """The runs that a candidate with the fingerprint `now` can be compared with."""
        held = [entry for entry in self.entries(test, name) if metric in entry.metrics]
        joules = metric in METRICS and METRICS[metric].is_joules
        apart = [differences(entry.fingerprint, now, match=match, joules=joules) for entry in held]
        same = [entry for entry, facts in zip(held, apart, strict=True) if not facts]
        return Matched(
            history=tuple(entry.metrics[metric] for entry in same),
            boards=tuple(entry.fingerprint.get("board", "") for entry in same),
            differences=tuple(apart[-1]) if held and not same else (),
        )

    def warmup(self, test: str, name: str, metric: str) -> Warmup:
        """How long these runs took to become steady, all of them taken together.

        It follows from the runs alone, so that baseline and candidate leave out the same rounds. Fewer than three runs
        cannot tell, nor can a metric that has no warm-up: token times, peaks, the user's own.
        """
        return warmup_of(self.history(test, name, metric))

    @cached_property
    def _entries(self) -> dict[tuple[str, str], list[BaselineEntry]]:
        found: dict[tuple[str, str], list[BaselineEntry]] = {}
        for run in self.runs:
            for entry in run.entries:
                found.setdefault((entry.test, entry.name), []).append(entry)
        return found


def lacking(baseline: Baseline, *, match: Match = "board") -> list[str]:
    """What gates on this baseline lack before they can fail, a line for all measurements that lack the same."""
    found: dict[str, list[str]] = {}
    for test, name in baseline.measured:
        reason = _lack(baseline.entries(test, name), match)
        if reason:
            found.setdefault(reason, []).append(f"{test} {name!r}" if name else test)
    return [f"{_some(tests)}: {reason}" for reason, tests in found.items()]


def _lack(entries: Sequence[BaselineEntry], match: Match) -> str | None:
    """Counted are the runs that compare with the newest one: those of another driver say nothing of the next."""
    now = entries[-1].fingerprint
    like = [entry for entry in entries if not differences(entry.fingerprint, now, match=match)]
    if not any(len(values) >= NEEDED_ROUNDS for entry in like for values in _launches(entry)):
        return f"no launch has the {NEEDED_ROUNDS} rounds that a gate needs"
    if len(like) < NEEDED_RUNS:
        return f"{len(like)} of {NEEDED_RUNS} runs needed before this gate can fail"
    return None


def _launches(entry: BaselineEntry) -> list[Sequence[float]]:
    return [values for metric in entry.metrics.values() for values in metric.launches]


def _some(tests: Sequence[str]) -> str:
    return tests[0] if len(tests) == 1 else f"{tests[0]} and {len(tests) - 1} more"


def warmup_of(history: Sequence[BaselineMetric]) -> Warmup:
    """The warm-up of the launches of several runs, one number for all of them."""
    pairs = [_pairs(run) for run in history]
    if sum(bool(found) for found in pairs) < NEEDED_RUNS:
        return Warmup(0)
    from pytest_lem.stats.warmup import warmup_rounds

    found = [pair for run in pairs for pair in run]
    # A long warm-up may fill more than the half of its launch in which it has to end: what is clearly over is cut off.
    over = max(0, min(len(warm) for warm, _ in found) - min(len(values) for _, values in found))
    rounds = warmup_rounds([(*warm[over:], *values) for warm, values in found])
    return Warmup(None if rounds is None else over + rounds)


def _pairs(run: BaselineMetric) -> list[tuple[Sequence[float], Sequence[float]]]:
    """Warm-up and values of the launches that are long enough, and have a warm-up; a value ≤ 0 has no logarithm."""
    return [
        (warm, values)
        for warm, values in zip(run.warmup, run.launches, strict=True)
        if warm and len(warm) + len(values) >= _PAIRS and all(value > 0 for value in (*warm, *values))
    ]
