"""What simulated gates amount to: shares with their intervals, the goals, the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from benchmarks.figures import percent, table
from benchmarks.gates.peers import RULES

Json = dict[str, Any]
FAMILY_GOAL = 0.03
LOW_POWER, HIGH_POWER = 0.75, 0.87


@dataclass(frozen=True)
class Goal:
    """A goal of the design, what was found, and whether it is met. `told` includes the worst cell."""

    name: str
    goal: str
    told: str
    met: bool


def share(cell: Json, answer: str) -> float:
    """How often an answer was given."""
    return float(cell["counts"].get(answer, 0)) / float(cell["traces"])


def told_share(cell: Json, answer: str) -> str:
    """A share with two standard errors of its simulation."""
    found = share(cell, answer)
    return f"{percent(found, 1)} ± {200 * sqrt(found * (1 - found) / cell['traces']):.1f}"


def noise_words(cell: Json) -> str:
    noise = cell["noise"]
    told = f"CV {percent(noise['cv'], 0)}, runs {percent(noise['between'], 0)}, φ {noise['phi']:g}"
    return f"{told}, K = {cell['runs']}"


def chosen(data: Json, kind: str, **wanted: Any) -> list[Json]:
    """Cells of a kind whose own facts, or their noise's, are as wanted."""
    return [
        cell
        for cell in data["cells"]
        if cell["kind"] == kind and all(cell.get(key, cell["noise"].get(key)) == want for key, want in wanted.items())
    ]


def worst(cells: Sequence[Json], answer: str, pick: Callable[..., Json] = max) -> tuple[float, str]:
    """The largest share (or the smallest, by `min`), and in words where."""
    cell = pick(cells, key=lambda cell: share(cell, answer))
    return share(cell, answer), f"{told_share(cell, answer)} ({noise_words(cell)})"


def goals(data: Json) -> list[Goal]:
    """Every goal, in the order of the design."""
    return [*_alarms(data), *_power(data), *_honesty(data), *_families(data), *_speed(data)]


def _most(name: str, cells: Sequence[Json], answer: str, most: float) -> Goal:
    found, words = worst(cells, answer)
    return Goal(name, f"≤ {percent(most, 1)}", f"worst of {len(cells)}: {words}", found <= most)


def _least(name: str, cells: Sequence[Json], answer: str, least: float) -> Goal:
    found, words = worst(cells, answer, min)
    return Goal(name, f"≥ {percent(least, 0)}", words, found >= least)


def _alarms(data: Json) -> list[Goal]:
    alone = chosen(data, "false alarms") + chosen(data, "history", change=0.0)
    return [
        _most("false alarms, history → duel, every cell", chosen(data, "false alarms"), "then REGRESSED", 0.01),
        _most("false alarms, history alone, 3, 5 and 10 runs", alone, "history REGRESSED", 0.025),
    ]


def _power(data: Json) -> list[Goal]:
    found = [
        _least(
            f"+10 % seen, duel, CV {percent(cv, 0)}", chosen(data, "seen", cv=cv, common=1.0), "duel REGRESSED", least
        )
        for cv, least in ((0.03, 0.99), (0.05, 0.99), (0.08, 0.95))
    ]
    for runs in (5, 10, 3):
        cells = [cell for cell in chosen(data, "history", change=0.20, runs=runs) if cell["noise"]["cv"] <= 0.08]
        found.append(_least(f"+20 % seen, history alone, CV ≤ 8 %, {runs} runs", cells, "history REGRESSED", 0.97))
    return found


def _honesty(data: Json) -> list[Goal]:
    cells = chosen(data, "said OK")
    found = [
        _most("said OK at a true +10 %, history alone", cells, "history OK", 0.01),
        _most("said OK at a true +10 %, history → duel", cells, "then OK", 0.01),
    ]
    for kind, says in (("detectable", "3, 5 and 10 runs"), ("detectable, runs unlike the prior", "spread 1 or 3 %")):
        found += [_printed(chosen(data, kind), when, says) for when in ("before", "after")]
    return found


def _printed(cells: Sequence[Json], when: str, says: str) -> Goal:
    low, high = worst(cells, f"{when} REGRESSED", min), worst(cells, f"{when} REGRESSED")
    met = low[0] >= LOW_POWER and high[0] <= HIGH_POWER
    return Goal(f"power at the MDE printed {when}, {says}", "75 to 87 %", f"{low[1]} to {high[1]}", met)


def _families(data: Json) -> list[Goal]:
    return [
        Goal(
            f"{cell['says']}: false alarms, {name}",
            f"≤ {percent(FAMILY_GOAL, 0)}",
            told_share(cell, f"{answer} REGRESSED"),
            share(cell, f"{answer} REGRESSED") <= FAMILY_GOAL,
        )
        for cell in data["cells"]
        if cell["kind"] in ("family", "late")
        for name, answer in (("history alone", "history"), ("history → duel", "then"))
    ]


def _speed(data: Json) -> list[Goal]:
    gate, report = data["gate_s"], data["report_s"]
    return [
        Goal("one gate, 10 runs of 30 rounds", "≤ 1 ms", f"{1000 * gate:.2f} ms", gate <= 0.001),
        Goal("2,000 gates, their statistics", "≤ 3 s", f"{report:.2f} s", report <= 3),
    ]


def render(data: Json) -> str:
    """The evidence page's generated part."""
    found = goals(data)
    head = ["goal", "asked", "found", "met"]
    lines = [[goal.name, goal.goal, goal.told, "yes" if goal.met else "**no**"] for goal in found]
    traces = min(cell["traces"] for cell in data["cells"])
    return "\n".join(
        [
            f"At least {traces} traces a cell; ± two standard errors of the simulation. {_versions(data)}",
            "",
            table(head, lines),
            "",
            "Beside the rules of other tools (five runs for ours, the last run for theirs, thirty rounds):",
            "",
            _peers(data),
            "",
            "+10 %, by what share of the rounds' noise both engines of a duel have in common:",
            "",
            _common(data),
            "",
            "False alarms, history → duel, where each engine's noise is its own (no goal of the design):",
            "",
            _own(data),
        ]
    )


def _versions(data: Json) -> str:
    return ", ".join(f"{name} {version}" for name, version in data["versions"].items()) + "."


def _peers(data: Json) -> str:
    cvs = sorted({cell["noise"]["cv"] for cell in chosen(data, "peers")})
    head = ["rule"] + [f"{what}, CV {percent(cv, 0)}" for what in ("false alarms", "+10 % seen") for cv in cvs]
    rows = [[name, *(_at(data, "peers", cv, change, name) for change in (0.0, 0.10) for cv in cvs)] for name in RULES]
    for name, answer in (("**history alone**", "history"), ("**history → duel**", "then"), ("**duel alone**", "duel")):
        told = [_at(data, "beside peers", cv, change, f"{answer} REGRESSED") for change in (0.0, 0.10) for cv in cvs]
        rows.append([name, *told])
    return table(head, rows)


def _at(data: Json, kind: str, cv: float, change: float, answer: str) -> str:
    return percent(share(chosen(data, kind, cv=cv, change=change)[0], answer), 1)


def _common(data: Json) -> str:
    head = [
        "CV",
        "common",
        "duel sees it",
        "its pairs",
        "history → duel sees it",
        "history alone",
        "said OK, history → duel",
    ]
    return table(
        head,
        [
            [
                percent(cell["noise"]["cv"], 0),
                percent(cell["noise"]["common"], 0),
                told_share(cell, "duel REGRESSED"),
                f"{share(cell, 'pairs'):.0f}",
                told_share(cell, "then REGRESSED"),
                told_share(cell, "history REGRESSED"),
                told_share(cell, "then OK"),
            ]
            for cell in chosen(data, "seen")
        ],
    )


def _own(data: Json) -> str:
    cells = chosen(data, "false alarms, own noise")
    phis = sorted({cell["noise"]["phi"] for cell in cells})
    rows = []
    for cv in sorted({cell["noise"]["cv"] for cell in cells}):
        told = [worst(chosen(data, "false alarms, own noise", cv=cv, phi=phi), "then REGRESSED")[0] for phi in phis]
        rows.append([f"CV {percent(cv, 0)}, the worst of three spreads of runs", *(percent(each, 1) for each in told)])
    return table(["rounds", *(f"φ {phi:g}" for phi in phis)], rows)
