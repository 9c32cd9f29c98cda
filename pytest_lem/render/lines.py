"""Rows of words as plain lines, one below the other: thousands of them at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytest_lem.render.numbers import ABSENT

Row = Sequence[str]


def columns(heads: Row, rows: Sequence[Row]) -> list[str]:
    """`heads` and `rows` as lines, each column as wide as its widest word."""
    widths = [max(map(len, words)) for words in zip(heads, *rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (heads, *rows)]


def said_once(heads: Row, rows: Sequence[Row], names: Collection[str]) -> tuple[list[str], list[str], list[list[str]]]:
    """Takes those columns of `names` out that say the same in every row: `model: synthetic:tiny`, heads, rows."""
    alike = {
        place
        for place, words in enumerate(zip(*rows, strict=True))
        if len(rows) > 1 and heads[place] in names and len(set(words)) == 1
    }
    told = [f"{heads[place].lower()}: {rows[0][place]}" for place in sorted(alike) if rows[0][place] != ABSENT]
    kept = [place for place in range(len(heads)) if place not in alike]
    return told, [heads[place] for place in kept], [[row[place] for place in kept] for row in rows]
