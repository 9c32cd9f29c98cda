"""Footnotes: each reason once, with a number that the cells carry."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass
class _Note:
    text: str
    what: str = ""
    count: int = 0
    variants: set[str] = field(default_factory=set)


class Notes:
    """Collects reasons in the order in which the table meets them."""

    def __init__(self) -> None:
        self._notes: dict[str, _Note] = {}

    def ref(self, text: str) -> str:
        """The mark of the footnote that says `text`, such as `[1]`."""
        self._notes.setdefault(text, _Note(text))
        return self._mark(text)

    def invalid_round(self, reason: str) -> str:
        """The mark for one more invalid round; reasons that differ in their numbers only share a footnote."""
        return self._round("invalid round", reason)

    def noted_round(self, note: str) -> str:
        """The mark for one more round that has this note, and counts all the same."""
        return self._round("round", note)

    def _round(self, what: str, reason: str) -> str:
        key = f"{what}: {_NUMBER.sub('#', reason)}"
        note = self._notes.setdefault(key, _Note(reason, what))
        note.count += 1
        note.variants.add(reason)
        return self._mark(key)

    def lines(self) -> list[tuple[str, str]]:
        """Mark and text of every footnote."""
        return [(self._mark(key), _text(note)) for key, note in self._notes.items()]

    def _mark(self, key: str) -> str:
        return f"[{list(self._notes).index(key) + 1}]"


def _text(note: _Note) -> str:
    if not note.count:
        return note.text
    rounds = f"{note.count} {note.what}{'s' * (note.count > 1)}"
    such_as = ", such as" if len(note.variants) > 1 else ""
    return f"{rounds}{such_as}: {note.text}"
