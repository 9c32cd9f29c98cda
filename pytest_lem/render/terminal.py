"""The table at the end of a run, as plain text or in a terminal's colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from rich.console import Console
from rich.text import Text

from pytest_lem.model.measurement import Measurement
from pytest_lem.render.columns import ENGINES, SERVED, WINDOWS, Grid, Kind, grid
from pytest_lem.render.device_use import device_use_lines
from pytest_lem.render.layout import lay_out, wrapped
from pytest_lem.render.names import names_of
from pytest_lem.render.notes import Notes
from pytest_lem.render.roofline import roofline_lines

__all__ = ["console_for", "is_served", "kinds_of", "legend", "names_of", "print_line", "print_table", "table", "title"]
_PLAIN = {"–": "-", " ±": "+-", "±": "+-", "µ": "u", "─": "-", "·": "|", "−": "-", "×": "x", "✗": "x", "✓": "v"}


def table(measurements: Sequence[Measurement], *, width: int | None, encoding: str = "utf-8") -> str:
    """The table without colour, lines at most `width` cells wide (None: as wide as it takes); "" for nothing.

    Below about 80 columns the names stand above their values, below about 70 values are listed; nothing is dropped.
    """
    return "\n".join(_legible(line.plain, encoding) for line in _lines(measurements, width))


def print_table(measurements: Sequence[Measurement], console: Console) -> None:
    """Print the table to `console`, in its width and, where it is a terminal, in colour."""
    for line in _lines(measurements, console.width):
        _print(console, line)


def print_line(console: Console, text: str, style: str) -> None:
    """Print one line in signs that the console has, as wide as it is."""
    _print(console, Text(text, style=style))


def _print(console: Console, line: Text) -> None:
    text = line if _legible(line.plain, console.encoding) == line.plain else _legible(line.plain, console.encoding)
    console.print(text, no_wrap=True, overflow="ignore", crop=False, highlight=False, markup=False)


def console_for(file: IO[str], *, width: int, colour: bool) -> Console:
    """A console that writes to pytest's terminal: its width, and colour only where pytest uses colour."""
    return Console(
        file=file,
        width=width,
        force_terminal=colour,
        color_system="auto" if colour else None,
        no_color=not colour,
        highlight=False,
        legacy_windows=False,
    )


def _lines(measurements: Sequence[Measurement], width: int | None) -> list[Text]:
    notes = Notes()
    lines: list[Text] = []
    names = dict(zip((id(each) for each in measurements), names_of(measurements), strict=True))
    for kind, chosen in kinds_of(measurements):
        found = grid(kind, chosen, [names[id(each)] for each in chosen], notes)
        gap = [Text()] if lines else []
        lines += [*gap, *_title(kind, chosen, width), *lay_out(found, width), *_legend(found, chosen, width)]
    return [*lines, *_footnotes(notes, width), *_below(measurements, width)]


def kinds_of(measurements: Sequence[Measurement]) -> list[tuple[Kind, list[Measurement]]]:
    """The tables that show `measurements`, and which of them stand in each; none is empty."""
    found = (
        (ENGINES, [each for each in measurements if each.engine is not None and not is_served(each)]),
        (SERVED, [each for each in measurements if is_served(each)]),
        (WINDOWS, [each for each in measurements if each.engine is None]),
    )
    return [(kind, chosen) for kind, chosen in found if chosen]


def is_served(measurement: Measurement) -> bool:
    """Whether its requests came over time."""
    return measurement.workload is not None and measurement.workload.arriving is not None


def _title(kind: Kind, measurements: Sequence[Measurement], width: int | None) -> list[Text]:
    told, quick = title(kind, measurements)
    style = "bold yellow" if quick else "bold"
    return [Text(line, style=style) for line in wrapped(f"{told} · {quick}" if quick else told, width)]


def title(kind: Kind, measurements: Sequence[Measurement]) -> tuple[str, str]:
    """`3 measurements of traffic`, and a warning where some of them are a first look only."""
    count = len(measurements)
    noun, space, rest = kind.title.partition(" ")
    quick = sum(each.protocol.quick for each in measurements)
    warning = "QUICK: a first look, not gateable" if quick == count else f"{quick} of them QUICK, not gateable"
    return f"{count} {noun}{'s' * (count != 1)}{space}{rest}", warning if quick else ""


def _legend(found: Grid, measurements: Sequence[Measurement], width: int | None) -> list[Text]:
    return [Text(line, style="dim") for say in legend(found, measurements) for line in wrapped(say, width, "  ")]


def legend(found: Grid, measurements: Sequence[Measurement]) -> list[str]:
    """What a table's intervals cover, which meters were read, and what `~` says."""
    says = []
    if found.covers:
        spans = [each for each in found.covers if each != "range"]
        if spans:
            says.append(f"± and interval: 95 % of {found.headline}, covering {' or '.join(spans)}")
        if "range" in found.covers:
            says.append(f"± and interval of two or three rounds or cycles: the range of their {found.headline}")
    if meters := _meters(measurements):
        says.append(f"meters: {', '.join(meters)}")
    if any(cell.startswith("~") or cell == "estimated" for row in found.rows for cell in row.cells):
        says.append("~ estimated by a model, not measured")
    return says


def _meters(measurements: Sequence[Measurement]) -> list[str]:
    """The meters that were read, each with what its joules are."""
    used = [meter for each in measurements for meter in each.meters if meter.used]
    return list(dict.fromkeys(f"{meter.name} ({meter.source})" for meter in used))


def _footnotes(notes: Notes, width: int | None) -> list[Text]:
    return [
        Text(line, style="dim")
        for mark, text in notes.lines()
        for line in wrapped(f"{mark} {text}", width, " " * (len(mark) + 1))
    ]


def _below(measurements: Sequence[Measurement], width: int | None) -> list[Text]:
    """What bound each engine's decoding, and how its GPUs were used."""
    names = names_of(measurements)
    told = [*roofline_lines(measurements, names), *device_use_lines(measurements, names)]
    return [Text(line, style="dim") for text in told for line in wrapped(text, width, "  ")]


def _legible(text: str, encoding: str) -> str:
    """`text` in signs that `encoding` has."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for sign, plain in _PLAIN.items():
            text = text.replace(sign, plain)
        return text.encode(encoding, "replace").decode(encoding)
    return text
