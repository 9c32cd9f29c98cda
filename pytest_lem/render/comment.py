"""The run as Markdown: a summary with its table, and the verdicts alone, for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lem.model.measurement import Measurement
from pytest_lem.model.verdict import Verdict
from pytest_lem.render.brief import brief
from pytest_lem.render.cheapest import cheapest_line, has_configurations
from pytest_lem.render.closing import closing, not_passed
from pytest_lem.render.device_use import device_use_lines
from pytest_lem.render.entries import entries
from pytest_lem.render.found import found_lines
from pytest_lem.render.markdown import code, markdown_lines, text
from pytest_lem.render.reported import Reported
from pytest_lem.render.terminal import names_of
from pytest_lem.render.verdicts import HEAD, cells, gates

JOULES_PER_WH = 3600.0
MILLION = 1e6
SIGNS = {"REGRESSED": "✗", "IMPROVED": "↓", "OK": "✓", "INCONCLUSIVE": "?"}
MOST_ROWS = 500
"""Of the summary's table: GitHub shows no summary above 1 MiB."""


@dataclass(frozen=True)
class Price:
    """What a kWh costs (`amount` of `currency`) and emits (grams of CO2); None where it was not said."""

    amount: float | None = None
    currency: str = ""
    grams: float | None = None


def summary(report: Reported, price: Price) -> str:
    """The whole run: its table, what a million tokens take, verdicts, what is missing; the cheapest comes last."""
    found = gates(report.verdicts)
    lines = [f"### {_headline(found, report.measurements)}", ""]
    if report.measurements:
        lines += [*markdown_lines(brief(entries([report])), MOST_ROWS), ""]
    lines += [f"- {text(line)}" for line in _use(report.measurements)]
    lines += [f"- {text(line)}" for line in found_lines(report.searches, report.phases)]
    lines += ["", *_rows(found), *_means(report.measurements, price)]
    lines += [f"- {text(line)}" for line in closing(report.verdicts, report.missing)]
    return "\n".join([*lines, "", *_foot(report.run.id, found), *_last(report.measurements)]) + "\n"


def _use(measurements: Sequence[Measurement]) -> list[str]:
    shown = measurements[:MOST_ROWS]
    return device_use_lines(shown, names_of(measurements)[: len(shown)])


def comment(verdicts: Sequence[Verdict], measurements: Sequence[Measurement], price: Price, *, run: str) -> str:
    """The verdicts alone, for a pull request: what changed, what a million tokens take, which is cheapest."""
    found = gates(verdicts)
    lines = [f"### {_headline(found, measurements)}", "", *_rows(found), *_means(measurements, price), *_lines(found)]
    return "\n".join([*lines, *_foot(run, found), *_last(measurements)]) + "\n"


def _headline(found: Sequence[Verdict], measurements: Sequence[Measurement]) -> str:
    if not found:
        quick = ", QUICK: a first look, not gateable" if any(each.protocol.quick for each in measurements) else ""
        count = len(measurements)
        return f"Energy of inference: {count} measurement{'s' * (count != 1)}, nothing was compared{quick}"
    counts: dict[str, int] = {}
    for verdict in found:
        word = verdict.comparison.outcome if verdict.comparison else "not judged"
        counts[word] = counts.get(word, 0) + 1
    return "Energy of inference: " + ", ".join(f"{count} {word}" for word, count in counts.items())


def _rows(found: Sequence[Verdict]) -> list[str]:
    if not found:
        return []
    lines = [f"| | {' | '.join(HEAD)} |", f"|---|{'---|' * len(HEAD)}"]
    for verdict in found:
        sign = SIGNS[verdict.comparison.outcome] if verdict.comparison else "–"
        test, *row = cells(verdict)
        lines.append(f"| {sign} | {code(test)} | {' | '.join(map(text, row))} |")
    return [*lines, ""]


def _means(measurements: Sequence[Measurement], price: Price) -> list[str]:
    known = [(each, value) for each in measurements if (value := _joules(each)) is not None]
    if not known:
        return []
    extra = ["CO2"] * (price.grams is not None) + ["cost"] * (price.amount is not None)
    head = ["configuration", "J/output token", "Wh per million output tokens", *extra]
    names = dict(zip(map(id, measurements), names_of(measurements), strict=True))
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for each, joules in sorted(known, key=lambda pair: pair[1])[:MOST_ROWS]:
        wh = joules * MILLION / JOULES_PER_WH
        row = [code(names[id(each)])]
        row += [f"{joules:.4g}", f"{wh:.4g}"]
        row += [f"{wh / 1000 * price.grams:.3g} g"] if price.grams is not None else []
        row += [f"{wh / 1000 * price.amount:.3g} {text(price.currency)}".rstrip()] if price.amount is not None else []
        lines.append("| " + " | ".join(row) + " |")
    return [*lines, ""]


def _joules(measurement: Measurement) -> float | None:
    value = measurement.metrics.get("joules_per_token")
    return value.value if value is not None and value.source == "measured" else None


def _lines(found: Sequence[Verdict]) -> list[str]:
    lines = [f"- {text(line)}" for line in not_passed(found)]
    return [*lines, ""] if lines else []


def _foot(run: str, found: Sequence[Verdict]) -> list[str]:
    how = (
        " Change and range are of the metric; a range that crosses 0 may be no change at all; "
        "“could see” is the change that such a run calls REGRESSED in 8 of 10 cases."
    )
    return [f"<sub>Run {code(run)}.{how if found else ''}</sub>", ""]


def _last(measurements: Sequence[Measurement]) -> list[str]:
    """The last line of every summary; nothing where no engine was measured."""
    return [f"**{text(cheapest_line(measurements))}**"] if has_configurations(measurements) else []
