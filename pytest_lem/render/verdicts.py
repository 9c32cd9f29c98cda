"""Verdicts of gates as people read them: a table for the terminal, and annotations for GitHub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console

from pytest_lem.model.verdict import Verdict
from pytest_lem.render.terminal import print_line

STYLES = {"REGRESSED": "bold red", "IMPROVED": "green", "OK": "green", "INCONCLUSIVE": "yellow"}
WORDS = 2
HEAD = ("test", "metric", "verdict", "change", "range", "threshold", "could see", "vs")


def gates(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that are of gates, regressions first."""
    found = [verdict for verdict in verdicts if verdict.kind == "gate"]
    order = {"failed": 0, "inconclusive": 1, "unavailable": 2, "passed": 3}
    return sorted(found, key=lambda verdict: order[verdict.status])


def print_verdicts(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print one row a gate."""
    found = gates(verdicts)
    rows = [cells(verdict) for verdict in found]
    widths = [max(cell_len(row[place]) for row in [HEAD, *rows]) for place in range(1, len(HEAD))]
    print_line(console, _aligned(HEAD, widths), "bold")
    for verdict, row in zip(found, rows, strict=True):
        outcome = verdict.comparison.outcome if verdict.comparison else ""
        print_line(console, row[0], "")
        print_line(console, _aligned(row, widths), STYLES.get(outcome, ""))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Its cells after the first under each other: words to the left, numbers to the right."""
    told = (
        cell + " " * (width - cell_len(cell)) if place < WORDS else " " * (width - cell_len(cell)) + cell
        for place, (cell, width) in enumerate(zip(row[1:], widths, strict=True))
    )
    return ("  " + "  ".join(told)).rstrip()


def cells(verdict: Verdict) -> tuple[str, ...]:
    """A verdict's row, as HEAD names it."""
    test = verdict.test.rpartition("::")[2] + (f" · {verdict.name}" if verdict.name else "")
    found = verdict.comparison
    if found is None:
        return (test, verdict.metric, "not judged", "–", "–", "–", "–", "–")
    bounds = "–" if found.low is None or found.high is None else f"{signed(found.low)}..{signed(found.high)}"
    return (
        test,
        verdict.metric,
        found.outcome + (f" ({found.reason})" if found.reason else ""),
        "–" if found.estimate is None else signed(found.estimate),
        bounds,
        share(found.threshold),
        "–" if found.detectable is None else f"> {share(found.detectable)}",
        f"{found.baseline} (duel)" if found.pairs else f"{found.baseline} ({found.runs} run{'s' * (found.runs != 1)})",
    )


def signed(change: float) -> str:
    """A relative change: `+4.1 %`, `−12 %`."""
    digits = 0 if abs(change) >= 0.1995 else 1
    return f"{'−' if change < 0 else '+'}{abs(100 * change):.{digits}f} %"


def share(value: float) -> str:
    """A share without a sign: `5 %`, `7.5 %`."""
    return f"{100 * value:.2g} %" if value < 1 else f"{100 * value:.0f} %"


def error_lines(verdicts: Sequence[Verdict], failed: Mapping[str, tuple[str, int]]) -> list[str]:
    """One workflow command of GitHub a gate that failed: `::error file=…,line=…,title=…::…`.

    `failed` says where the test of each failed gate stands: file, and line from 1.
    """
    lines = []
    for verdict in gates(verdicts):
        if verdict.test in failed:
            file, number = failed[verdict.test]
            text = verdict.line.replace("%", "%25").replace("\n", "%0A")
            what = "regressed" if verdict.status == "failed" else "cannot be told"
            lines.append(f"::error file={file},line={number},title={verdict.metric} {what}::{text}")
    return lines
