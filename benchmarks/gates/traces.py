"""One trace: a history, a candidate, its relaunch and a duel, all drawn from one seed, and what the gates say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import log1p
from zlib import crc32

import numpy as np

from benchmarks.gates.noise import BLOCK, Noise, block, launch, session, stopped
from benchmarks.gates.peers import RULES
from pytest_lem.stats import Duel, Verdict, detectable_effect, history_gate
from pytest_lem.stats.duel import LOOKS

History = list[list[float]]


@dataclass(frozen=True)
class Cell:
    """What is drawn alike: `kind` says what is asked of it, `change` the true relative change of cost.

    `candidate` differs from `noise` where the candidate's launches are of another kind than those accepted.
    """

    kind: str
    noise: Noise
    runs: int = 5
    change: float = 0.0
    traces: int = 1000
    says: str = ""
    candidate: Noise | None = field(default=None)

    @property
    def seed(self) -> int:
        """The same for the same cell on any machine; how many traces are drawn does not matter."""
        told = (self.kind, self.noise, self.runs, self.change, self.candidate)
        return crc32(repr(told).encode())


def play(cell: Cell, seed: int, first: int, count: int) -> Counter[str]:
    """What came of `count` traces from number `first` on: how often each answer was given."""
    asked = cell.kind.split(",")[0]
    answers = {"peers": peers, "detectable": detectable, "history": history_alone}.get(asked, both)
    found: Counter[str] = Counter()
    for index in range(first, first + count):
        found.update(answers(np.random.default_rng([seed, cell.seed, index]), cell))
    return found


def both(rng: np.random.Generator, cell: Cell) -> list[str]:
    """History, the duel alone, and the duel where history leaves it open."""
    alone, launches = judged_by_history(rng, cell, past(rng, cell), cell.change)
    duel = fought(rng, cell)
    then = duel if alone.duel else alone
    told = [f"history {alone.status}", f"duel {duel.status}", f"then {then.status}"]
    return told + ["pairs"] * duel.rounds + ["launches"] * launches


def history_alone(rng: np.random.Generator, cell: Cell) -> list[str]:
    found, _ = judged_by_history(rng, cell, past(rng, cell), cell.change)
    return [f"history {found.status}"]


def detectable(rng: np.random.Generator, cell: Cell) -> list[str]:
    """Whether a candidate that is dearer by what was printed as detectable, before or after, is seen."""
    history = past(rng, cell)
    unchanged, _ = judged_by_history(rng, cell, history, 0.0)
    told = []
    for name, change in (("before", detectable_effect(history)), ("after", unchanged.detectable or 0.0)):
        told.append(f"{name} {judged_by_history(rng, cell, history, change)[0].status}")
    return told


def peers(rng: np.random.Generator, cell: Cell) -> list[str]:
    """The other tools' rules, told thirty rounds of the last run and thirty of the candidate."""
    last = launch(rng, cell.noise, session(rng, cell.noise))
    now = launch(rng, cell.noise, session(rng, cell.noise) + log1p(cell.change))
    return [name for name, rule in RULES.items() if rule(last, now)]


def past(rng: np.random.Generator, cell: Cell) -> History:
    """The accepted runs, each a launch in a session of its own."""
    return [stopped(launch(rng, cell.noise, session(rng, cell.noise))) for _ in range(cell.runs)]


def judged_by_history(rng: np.random.Generator, cell: Cell, history: History, change: float) -> tuple[Verdict, int]:
    """The verdict on a candidate, launched again in the same session as often as a verdict wants it; its launches."""
    noise = cell.candidate or cell.noise
    level = session(rng, noise) + log1p(change)
    launches = [stopped(launch(rng, noise, level))]
    found = history_gate(history, launches)
    while found.relaunch:
        launches.append(stopped(launch(rng, noise, level, first=False)))
        found = history_gate(history, launches)
    return found, len(launches)


def fought(rng: np.random.Generator, cell: Cell) -> Verdict:
    """A duel to its end; both sides are launched anew for every ten pairs."""
    duel = Duel()
    for number in range(1, LOOKS[-1] // BLOCK + 1):
        a, b = block(rng, cell.noise, log1p(cell.change))
        for part in (slice(0, 2), slice(2, BLOCK)):  # a look falls due after twelve pairs
            found = duel.add(a[part].tolist(), b[part].tolist(), number)
            if not isinstance(found, str):
                return found
    raise AssertionError("the last look decides")
