"""The simulation of gates: reproducible, other tools' rules as theirs, its table what was counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import project  # noqa: F401 - puts the project's root on the path
import pytest

from benchmarks.gates import peers, summary
from benchmarks.gates.cells import cells
from benchmarks.gates.noise import Noise, abba, autoregressive, block, launch, stopped
from benchmarks.gates.run import played
from benchmarks.gates.traces import Cell, play


def test_the_same_seed_counts_the_same_however_the_traces_are_shared_out() -> None:
    cell = Cell("false alarms", Noise(), traces=12)
    whole = play(cell, 3, 0, 12)
    assert whole == play(cell, 3, 0, 5) + play(cell, 3, 5, 7)
    assert [counts for _, counts in played([cell], 3, 2)] == [whole]
    assert whole != play(cell, 4, 0, 12)


def test_a_large_change_is_seen_and_no_change_is_not() -> None:
    worse = play(Cell("seen", Noise(cv=0.03), change=0.3), 0, 0, 20)
    assert (worse["history REGRESSED"], worse["duel REGRESSED"], worse["then REGRESSED"]) == (20, 20, 20)
    assert play(Cell("seen", Noise(cv=0.03)), 0, 0, 20)["then REGRESSED"] == 0


def test_rounds_spread_and_correlate_as_asked() -> None:
    rng = np.random.default_rng(1)
    values = np.array([autoregressive(rng, Noise(cv=0.08, phi=0.5), 30) for _ in range(2000)])
    assert values.std() == pytest.approx(0.08, rel=0.03)
    assert np.corrcoef(values[:, 10], values[:, 11])[0, 1] == pytest.approx(0.5, abs=0.05)
    heavy = autoregressive(rng, Noise(cv=0.08, phi=0.0, tails=2.0), 200_000)
    assert np.quantile(heavy, 0.75) == pytest.approx(0.6745 * 0.08, rel=0.03)


def test_a_cold_launch_is_dearer_only_where_it_is_the_first() -> None:
    calm = Noise(cv=0.001, between=0.0, drift=0.0, outliers=0.0, cold=(1.0, 0.05))
    rng = np.random.default_rng(2)
    assert np.log(launch(rng, calm, 0.0)).mean() == pytest.approx(0.05, abs=0.001)
    assert np.log(launch(rng, calm, 0.0, first=False)).mean() == pytest.approx(0.0, abs=0.001)
    state = replace(calm, cold=(0.0, 0.0), states=(1.0, 0.08))
    assert np.log(launch(rng, state, 0.0, first=False)).mean() == pytest.approx(0.08, abs=0.001)


def test_a_candidate_is_launched_again_as_often_as_its_verdict_wants() -> None:
    calm = Noise(cv=0.01, between=0.002, drift=0.0, outliers=0.0)
    same = play(Cell("late", calm), 0, 0, 20)
    dear = play(Cell("late", calm, change=0.3), 0, 0, 20)
    cold = play(Cell("late", calm, candidate=replace(calm, cold=(1.0, 0.3))), 0, 0, 20)
    assert [counts["launches"] for counts in (same, dear, cold)] == [20, 40, 60]
    assert [counts["history REGRESSED"] for counts in (same, dear, cold)] == [0, 20, 0]


def test_pairs_take_turns_and_what_both_sides_feel_cancels() -> None:
    assert abba(4) == ([0, 3, 4, 7], [1, 2, 5, 6])
    steady = Noise(cv=0.1, between=0.0, phi=0.99, outliers=0.0, common=1.0)
    a, b = block(np.random.default_rng(3), steady, np.log(1.1))
    assert np.log(b / a).mean() == pytest.approx(np.log(1.1), abs=0.02)


def test_a_calm_launch_ends_early_and_a_noisy_one_goes_on() -> None:
    rng = np.random.default_rng(4)
    quiet = Noise(cv=0.01, drift=0.0, outliers=0.0)
    assert len(stopped(launch(rng, quiet, 0.0))) == 8
    assert np.mean([len(stopped(launch(rng, Noise(cv=0.08), 0.0))) for _ in range(20)]) > 25


def test_other_tools_rules() -> None:
    last = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99]
    slower, faster = [value * 1.07 for value in last], [value * 0.8 for value in last]
    said = {name: rule(last, slower) for name, rule in peers.RULES.items()}
    assert said.pop("median over 10 %, p < 0.002, as asv") is False
    assert all(said.values())
    assert not any(rule(last, faster) for rule in peers.RULES.values())
    assert not any(rule(last, last) for rule in peers.RULES.values())
    assert peers.asv(last, [value * 1.2 for value in last])


def answered() -> dict[str, Any]:
    """Results of which every cell did well: nothing false alarmed, everything large was seen."""
    data: dict[str, Any] = {"versions": {"numpy": "2"}, "gate_s": 0.0004, "report_s": 0.9, "cells": []}
    for cell in cells(1000):
        noise = vars(cell.noise)
        counts = {f"{who} REGRESSED": cell.traces if cell.change else 0 for who in ("history", "duel", "then")}
        counts |= {f"{when} REGRESSED": round(0.8 * cell.traces) for when in ("before", "after")}
        data["cells"].append(
            {"kind": cell.kind, "says": cell.says, "runs": cell.runs, "change": cell.change, "traces": cell.traces}
            | {"noise": noise, "counts": counts}
        )
    return data


def test_every_goal_is_told_as_met_where_it_is() -> None:
    data = answered()
    assert [goal.name for goal in summary.goals(data) if not goal.met] == []
    told = summary.render(data)
    assert "At least 1000 traces a cell" in told
    assert "| one gate, 10 runs of 30 rounds | ≤ 1 ms | 0.40 ms | yes |" in told
    assert "no**" not in told


@pytest.mark.parametrize(
    ("kind", "answer", "count", "goal"),
    [
        ("false alarms", "then REGRESSED", 21, "false alarms, history → duel, every cell"),
        ("false alarms", "history REGRESSED", 51, "false alarms, history alone, 3, 5 and 10 runs"),
        ("said OK", "history OK", 11, "said OK at a true +10 %, history alone"),
        ("detectable", "after REGRESSED", 740, "power at the MDE printed after, 3, 5 and 10 runs"),
        ("detectable", "before REGRESSED", 880, "power at the MDE printed before, 3, 5 and 10 runs"),
    ],
)
def test_one_bad_cell_misses_its_goal(kind: str, answer: str, count: int, goal: str) -> None:
    data = answered()
    bad = summary.chosen(data, kind)[-1]
    bad["counts"][answer] = count
    (missed,) = [found for found in summary.goals(data) if not found.met]
    assert missed.name == goal
    assert summary.noise_words(bad) in missed.told
    assert f"| {goal} |" in summary.render(data)
    assert "**no**" in summary.render(data)


def test_a_gate_too_slow_is_told() -> None:
    data = answered() | {"gate_s": 0.0012, "report_s": 3.1}
    assert [goal.name for goal in summary.goals(data) if not goal.met] == [
        "one gate, 10 runs of 30 rounds",
        "2,000 gates, their statistics",
    ]


def test_every_cell_is_drawn_a_thousand_times() -> None:
    assert min(cell.traces for cell in cells(2000)) >= 1000
    assert len({cell.seed for cell in cells(2000)}) == len(list(cells(2000)))
