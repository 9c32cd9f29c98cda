"""The summary: one row a measurement, in the tables and numbers of the terminal, with what is needed to sort it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.verdict import Verdict
from pytest_lem.render.columns import Grid, Kind, Row, grid
from pytest_lem.render.configuration import Words, words
from pytest_lem.render.html.device_use import device_use_table
from pytest_lem.render.html.elements import Html, element, hidden, joined, scroller
from pytest_lem.render.judged import WORSE, Judged, judgements, worst
from pytest_lem.render.notes import Notes
from pytest_lem.render.numbers import ABSENT
from pytest_lem.render.roofline import roofline_lines
from pytest_lem.render.terminal import kinds_of, legend, names_of, title

_MARK = re.compile(r"(\[\d+\])")
SIGNS = {"failed": "✗", "inconclusive": "?", "unavailable": "–", "passed": "✓"}
WORDS = {"engine": "engine", "model": "model", "precision": "precision", "load": "load", "tokens": "tokens"}
WORDS |= {"device": "device"}


def summary(measurements: Sequence[Measurement], verdicts: Sequence[Verdict]) -> Html:
    """Every table of the run, and the footnotes that their cells name."""
    notes, judged = Notes(), judgements(verdicts)
    names = dict(zip(map(id, measurements), names_of(measurements), strict=True))
    places = {id(each): place for place, each in enumerate(measurements)}
    grids = [
        (kind, chosen, grid(kind, chosen, [names[id(each)] for each in chosen], notes))
        for kind, chosen in kinds_of(measurements)
    ]
    told = dict(notes.lines())
    tables = [_Table(kind, chosen, found, judged, places, told).html() for kind, chosen, found in grids]
    lines = [element("li", element("b", mark), " ", said, id=f"note-{mark[1:-1]}") for mark, said in notes.lines()]
    called = names_of(measurements)
    bound = [element("p", line, class_="legend") for line in roofline_lines(measurements, called)]
    use = device_use_table(measurements, called)
    return joined([*tables, element("ol", *lines, class_="notes") if lines else Html(), *bound, use])


class _Table:
    """One table: measurements of one kind."""

    def __init__(
        self,
        kind: Kind,
        measurements: Sequence[Measurement],
        found: Grid,
        judged: Judged,
        places: Mapping[int, int],
        notes: Mapping[str, str],
    ) -> None:
        self._kind, self._measurements, self._grid = kind, measurements, found
        self._judged, self._places, self._notes = judged, places, notes
        self._keys = {label: key for key, label in kind.labels.items()}
        self._words = [words(each) for each in measurements]
        rows = [asdict(each) for each in self._words]
        self._varied = [field for field in WORDS if len({row[field] for row in rows}) > 1]

    def html(self) -> Html:
        told, quick = title(self._kind, self._measurements)
        says = [element("p", line, class_="legend") for line in legend(self._grid, self._measurements)]
        same = self._same(self._words[0])
        caption = element("caption", element("b", told), f" · {quick}" if quick else "", f" · {same}" if same else "")
        rows = [self._row(*each) for each in zip(self._measurements, self._words, self._grid.rows, strict=True)]
        table = element("table", caption, self._head(), element("tbody", *rows), class_="sortable")
        return joined([scroller(told, table), *says])

    def _same(self, first: Words) -> str:
        alike = [word for field, word in asdict(first).items() if field not in self._varied and word]
        return f"all of them: {' · '.join(alike)}" if alike and len(self._measurements) > 1 else ""

    def _head(self) -> Html:
        cells = [_column("name", "test", left=True), *(_column(WORDS[field], left=True) for field in self._varied)]
        for head in self._grid.heads:
            key = self._keys.get(head.label)
            cells.append(_column(head.label, METRICS[key].definition if key else "", head.unit, left=head.left))
        cells.append(_column("verdict", "worst of its budgets and gates", left=True))
        return element("thead", element("tr", *cells))

    def _row(self, measurement: Measurement, told: Words, row: Row) -> Html:
        tags = [element("span", tag, class_="tag") for tag in row.tags]
        place = self._places[id(measurement)]
        link = element("a", row.name, href="#details", data_row=place)
        cells = [element("th", link, *tags, scope="row", data_v=row.name)]
        cells += [element("td", getattr(told, field), class_="word") for field in self._varied]
        for head, cell in zip(self._grid.heads, row.cells, strict=True):
            cells.append(self._cell(cell, self._sorted_by(head.label, measurement), left=head.left))
        return element("tr", *cells, self._verdict(measurement), data_row=place)

    def _cell(self, cell: str, value: float | None, *, left: bool) -> Html:
        said = [part if not _MARK.fullmatch(part) else element("sup", part) for part in _MARK.split(cell) if part]
        why = "; ".join(self._notes[mark] for mark in _MARK.findall(cell))
        kind = "absent" if cell.startswith(ABSENT) else "guess" if cell.startswith("~") or cell == "estimated" else None
        read = hidden(f" not measured: {why}") if kind == "absent" and why else Html()
        if kind == "guess" and cell != "estimated":
            read = hidden(" estimated")
        data = None if value is None else f"{value:.9g}"
        classes = " ".join(filter(None, (kind, "word" if left else None))) or None
        return element("td", *said, read, class_=classes, data_v=data, title=why or None)

    def _sorted_by(self, label: str, measurement: Measurement) -> float | None:
        """What a cell is sorted by; the interval by its width, rounds by how many were valid."""
        if label == "rounds":
            return float(sum(each.valid for cycle in measurement.cycles for each in cycle.rounds))
        key = self._keys.get(label) or (self._keys[self._grid.headline] if label == "interval" else "")
        found = measurement.metrics.get(key)
        if found is None or found.value is None:
            return None
        if label != "interval":
            return found.value
        return None if found.low is None or found.high is None else found.high - found.low

    def _verdict(self, measurement: Measurement) -> Html:
        found = worst(measurement, self._judged)
        if found is None:
            return element(
                "td", ABSENT, hidden(" nothing was judged"), class_="absent word", title="nothing was judged"
            )
        return element(
            "td", verdict_word(found.status), class_="word", title=found.line, data_v=WORSE.index(found.status)
        )


def verdict_word(status: str) -> Html:
    """A verdict's status as a sign and a word: colour is never all that tells it."""
    return element("span", element("span", SIGNS[status], aria_hidden="true"), f" {status}", class_=f"status {status}")


def _column(label: str, definition: str = "", unit: str = "", *, left: bool = False) -> Html:
    told = [element("span", label, class_="label"), *([element("span", unit, class_="unit")] if unit else [])]
    button = element("button", *told, type="button", title=definition or None)
    return element("th", button, scope="col", aria_sort="none", class_="word" if left else None)
