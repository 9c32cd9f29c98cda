"""The table as GitHub's Markdown. Text from outside stands in it as it is written, whatever signs it has."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_lem.render.brief import Brief, Head, Name, Number, Words, brief
from pytest_lem.render.entries import Entry

NOTHING = "No measurement was made.\n"
# Signs that CommonMark or GitHub's tables give a meaning; an underscore has none within a word.
_SIGNS = re.compile(r"([\\`*\[\]<>#~|&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_SPACES = re.compile(r"[\s\x00-\x1f\x7f\u2028\u2029]+")
_PLAIN_CODE = re.compile(r"[^`|\\]+")


def as_markdown(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> str:
    """A table, its legend and its footnotes. Raises UsageError for a metric that nobody knows."""
    return "\n".join(markdown_lines(brief(entries, metrics))) + "\n" if entries else NOTHING


def markdown_lines(found: Brief, most: int | None = None) -> list[str]:
    """The table's lines, with `most` rows of it at most, and those below it."""
    shown = found.rows[:most]
    lines = ["| " + " | ".join(_head(head) for head in found.heads) + " |"]
    lines.append("|" + "|".join(":---" if head.left else "---:" for head in found.heads) + "|")
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in shown]
    left = len(found.rows) - len(shown)
    says = [f"… and {left} more configurations, in report.json"] if left else []
    says += [f"all of them: {text(' · '.join(found.same))}"] if found.same else []
    says += [text(line) for line in found.legend]
    says += [f"{text(mark)} {text(said)}" for mark, said in found.notes]
    return [*lines, "", *(f"- {line}" for line in says)]


def text(plain: str) -> str:
    """`plain` as running text or a cell, on one line."""
    return _SIGNS.sub(r"\\\1", _SPACES.sub(" ", plain).strip())


def code(plain: str) -> str:
    """`plain` as code, also within a table; where code cannot hold one of its signs, as HTML's code."""
    told = _SPACES.sub(" ", plain).strip()
    if _PLAIN_CODE.fullmatch(told):
        return f"`{told}`"
    return f"<code>{text(told)}</code>"


def _head(head: Head) -> str:
    return text(head.label) + (f" ({text(head.unit)})" if head.unit else "")


def _cell(cell: Words) -> str:
    if isinstance(cell, Name):
        return " ".join([code(cell.text), *map(text, cell.marks)])
    if isinstance(cell, Number):
        half = f" ± {cell.half}" if cell.half else ""
        mark = f" {text(cell.mark)}" if cell.mark else ""
        return f"{text('~') if cell.guess else ''}{text(cell.shown)}{half}{mark}"
    return text(cell)
