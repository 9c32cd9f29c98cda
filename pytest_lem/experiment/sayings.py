"""What a file comes to while it is read: each keyword once, with who said it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_lem.campaign.document import Document
from pytest_lem.experiment.extends import within
from pytest_lem.experiment.shape import said_at, value_at
from pytest_lem.model.errors import UsageError


@dataclass(frozen=True)
class Saying:
    """A value for a keyword, and the word of the file that says it."""

    value: Any
    word: str


class Sayings:
    """Keyword → what is said of it; two words for one keyword must agree. `notes` are what nobody should overlook."""

    def __init__(self, document: Document, backends: tuple[str, ...]) -> None:
        self.document = document
        self.backends = backends
        self.notes: list[str] = []
        self._said: dict[str, Saying] = {}

    def of(self, word: str) -> Any:
        """What stands at a word of the file, None where nothing does."""
        return value_at(self.document.values, word)

    def at(self, word: str) -> str:
        """Its file and line."""
        return said_at(self.document, word)

    def has(self, keyword: str) -> bool:
        """Whether anything was said of it."""
        return keyword in self._said

    def value(self, keyword: str) -> Any:
        """What was said of it, None for nothing."""
        return self._said[keyword].value if keyword in self._said else None

    def word(self, keyword: str) -> str:
        """The word of the file that said it, "" for none."""
        return self._said[keyword].word if keyword in self._said else ""

    def put(self, keyword: str, value: Any, word: str) -> None:
        """`word` says `value` of `keyword`. Raises UsageError where another word has said something else."""
        known = self._said.setdefault(keyword, Saying(value, word))
        if known.value != value or isinstance(known.value, bool) != isinstance(value, bool):
            self.refuse(
                word,
                f"{self._shown(word)} contradicts {self._shown(known.word)} ({self.at(known.word)}); keep one of them",
            )

    def drop(self, keyword: str) -> Saying | None:
        """Take back what was said."""
        return self._said.pop(keyword, None)

    def refuse(self, word: str, message: str) -> None:
        """Raise UsageError with the line of `word`."""
        raise UsageError(f"{self.at(word)}: {message}")

    def note(self, word: str, message: str) -> None:
        """Tell what was left out, or understood; each once."""
        line = f"{self.at(word)}: {message}"
        if line not in self.notes:
            self.notes.append(line)

    def keywords(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The marker's keywords, nested, and the origin of each of their paths. Raises UsageError as `put` does."""
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for keyword, saying in sorted(self._said.items(), key=lambda said: said[0].count(".")):
            holder, _, field = keyword.rpartition(".")
            if holder:
                origins.setdefault(holder, self.at(saying.word.rpartition(".")[0] or saying.word))
                for section in self._sections(values, holder, saying):
                    self._agree(section, field, saying)
            else:
                values[keyword] = saying.value
            origins |= self._origins(saying.word, keyword)
        return values, origins

    def _sections(self, values: dict[str, Any], holder: str, saying: Saying) -> list[dict[str, Any]]:
        """The mapping that holds a field, or all of a list of them."""
        held = values.setdefault(holder, {})
        held = held if isinstance(held, list) else [held]
        if not all(isinstance(each, dict) for each in held):
            other = self.word(holder)
            self.refuse(saying.word, f"{saying.word} stands beside {other} ({self.at(other)}); keep one of them")
        return held

    def _agree(self, section: dict[str, Any], field: str, saying: Saying) -> None:
        if section.setdefault(field, saying.value) != saying.value:
            self.refuse(
                saying.word, f"{self._shown(saying.word)} contradicts {field}: {section[field]}; keep one of them"
            )

    def _origins(self, word: str, keyword: str) -> dict[str, str]:
        told = {
            keyword + path[len(word) :]: origin for path, origin in self.document.origins.items() if within(path, word)
        }
        return {keyword: self.at(word), **told}

    def _shown(self, word: str) -> str:
        value = self.of(word)
        return f"{word}: {'true' if value is True else 'false' if value is False else value}"


def unsaid(value: Any) -> Any:
    """A value without the nulls of its mappings: a null says nothing."""
    if isinstance(value, Mapping):
        return {name: unsaid(each) for name, each in value.items() if each is not None}
    return value
