"""Puts a grid on lines: one row a measurement, a name above its values, or a list, whichever the width allows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from pytest_lem.render.columns import Grid, Head, Row
from pytest_lem.render.numbers import ABSENT

_TAG = "yellow"
_RULE = "─"
_INDENT = 2
_HARD = "\u00a0"


def lay_out(grid: Grid, width: int | None) -> list[Text]:
    """The grid's lines, none wider than `width` cells (None: as wide as it takes). Nothing is left out."""
    rows = _aligned(grid.rows)
    names = max(cell_len(row.name) for row in rows)
    columns = _widths(grid.heads, rows)
    for gap, beside in ((2, True), (2, False), (1, False)):
        spare = None if width is None else width - sum(columns) - gap * len(columns)
        if spare is None or spare >= (names if beside else 0):
            margin = names if beside else min(_INDENT, spare or 0)
            return _table(_Columns(grid.heads, columns, gap, margin), rows, beside=beside, width=width)
    return [line for row in grid.rows for line in _list(grid.heads, row, width or 0)]


def wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    """`text` on lines of at most `width` cells, those after the first indented."""
    if width is None:
        return [text]
    return textwrap.wrap(text, max(width, len(indent) + 8), subsequent_indent=indent) or [""]


@dataclass(frozen=True)
class _Columns:
    """Columns of `widths` cells, `gap` spaces before each and a `margin` before the first."""

    heads: Sequence[Head]
    widths: Sequence[int]
    gap: int
    margin: int

    @property
    def total(self) -> int:
        return self.margin + sum(self.widths) + self.gap * len(self.widths)

    def line(self, texts: Sequence[str], styles: Sequence[str], name: str = "") -> Text:
        line = Text(name + " " * (self.margin - cell_len(name)))
        for text, style, head, width in zip(texts, styles, self.heads, self.widths, strict=True):
            pad = " " * (width - cell_len(text))
            line.append(" " * self.gap + ("" if head.left else pad))
            line.append(text, style=style)
            line.append(pad if head.left else "")
        line.rstrip()
        return line


def _table(columns: _Columns, rows: Sequence[Row], *, beside: bool, width: int | None) -> list[Text]:
    heads = columns.heads
    lines = [
        columns.line([head.label for head in heads], ["bold"] * len(heads)),
        columns.line([head.unit for head in heads], ["dim"] * len(heads)),
        Text(_RULE * columns.total, style="dim"),
    ]
    for row in rows:
        styles = [_style(index, cell) for index, cell in enumerate(row.cells)]
        if beside:
            lines += [columns.line(row.cells, styles, row.name), *_tags(row, width)]
        else:
            lines += [*_title(row, width), columns.line(row.cells, styles)]
    return lines


def _list(heads: Sequence[Head], row: Row, width: int) -> list[Text]:
    """Label and value in running text, for terminals too narrow for columns."""
    parts = []
    for head, cell in zip(heads, row.cells, strict=True):
        value, _, spread = cell.partition(" ")
        unit = "" if value.startswith(ABSENT) else head.unit
        parts.append(" ".join(filter(None, (head.label, value, unit, spread))))
    # Spaces inside a part must not break: a value stays beside its label and unit.
    text = " " * _INDENT + ", ".join(part.replace(" ", _HARD) for part in parts)
    lines = wrapped(text, width, " " * _INDENT)
    return [*_title(row, width), *(Text(line.replace(_HARD, " ")) for line in lines)]


def _title(row: Row, width: int | None) -> list[Text]:
    """The name with its tags beside it, or below where they do not fit."""
    beside = Text(row.name).append("".join(f"  {tag}" for tag in row.tags), style=_TAG)
    if width is None or cell_len(beside.plain) <= width:
        return [beside]
    return [*(Text(line) for line in wrapped(row.name, width)), *_tags(row, width)]


def _tags(row: Row, width: int | None) -> list[Text]:
    if not row.tags:
        return []
    indent = " " * _INDENT
    return [Text(line, style=_TAG) for line in wrapped(indent + "  ".join(row.tags), width, indent)]


def _aligned(rows: Sequence[Row]) -> list[Row]:
    """The rows with every `412 ±1.7 %` split alike, so that values stand under values."""
    columns = []
    for column in zip(*(row.cells for row in rows), strict=True):
        parts = [cell.partition(" ") for cell in column]
        room = max(cell_len(spread) for _, _, spread in parts)
        columns.append([f"{value} {spread:>{room}}" if room else value for value, _, spread in parts])
    return [Row(row.name, row.tags, cells) for row, cells in zip(rows, zip(*columns, strict=True), strict=True)]


def _widths(heads: Sequence[Head], rows: Sequence[Row]) -> list[int]:
    return [
        max(map(cell_len, [head.label, head.unit, *(row.cells[index] for row in rows)]))
        for index, head in enumerate(heads)
    ]


def _style(index: int, cell: str) -> str:
    if cell.startswith(ABSENT):
        return "dim"
    if cell.startswith("~") or cell == "estimated":
        return "yellow"
    return "bold" if index == 0 else ""
