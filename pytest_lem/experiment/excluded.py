"""`sweep.exclude`: combinations that are left out, in the file's words → `unless` of the marker."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pytest_lem.campaign.document import Document
from pytest_lem.experiment.shape import said_at, unknown_word
from pytest_lem.experiment.words import OPTIONS, WORDS
from pytest_lem.model.errors import UsageError

PATH = "sweep.exclude"
MEANT = {
    "batching": "batching",
    "batching.strategy": "batching",
    "strategy": "batching",
    "max_input_tokens": "prompt_tokens",
    "target_qps": "target_qps",
    "traffic_simulation.target_qps": "traffic.qps",
    "decoder": "decoding.preset",
    "traffic_simulation.mode": "traffic.arrivals",
    "gpus": "gpus",
    "num_gpus": "gpus",
}
"""Words with a rule of their own that mean one keyword all the same, where they only tell one configuration from
another."""


def exclusions(document: Document, engines: Collection[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rules for `unless`, and their origins by index. Raises UsageError with file and line."""
    sweep = document.values.get("sweep")
    given = sweep.get("exclude") if isinstance(sweep, Mapping) else None
    if given is None:
        return [], {}
    rules = given if isinstance(given, list) else [given]
    found, origins = [], {}
    for index, rule in enumerate(rules):
        path = f"{PATH}[{index}]" if isinstance(given, list) else PATH
        if not isinstance(rule, Mapping) or not rule:
            raise UsageError(
                f"{said_at(document, path)}: {PATH}: expected words with values to leave out; got {rule!r}"
            )
        made: dict[str, Any] = {}
        for keyword, value in _translated(document, rule, "", path, engines):
            holder, _, field = keyword.partition(".")
            if field:
                made.setdefault(holder, {})[field] = value
            else:
                made[holder] = value
        found.append(made)
        origins[f"[{index}]"] = said_at(document, path)
    return found, origins


def _translated(
    document: Document, rule: Mapping[str, Any], section: str, path: str, engines: Collection[str]
) -> Iterator[tuple[str, Any]]:
    for name, value in rule.items():
        word = f"{section}.{name}" if section else name
        meant = WORDS[word].means if word in WORDS else None
        meant = meant or MEANT.get(word)
        engine, _, option = word.partition(".")
        if engine in engines and option:
            yield f"{engine}.{OPTIONS.get(engine, {}).get(option, option)}", value
        elif isinstance(value, Mapping) and (engine in engines or (word in _SECTIONS and not _ranged(value))):
            yield from _translated(document, value, word, f"{path}.{name}", engines)
        elif meant:
            yield meant, value
        else:
            place = said_at(document, f"{path}.{name}")
            known = word in WORDS
            told = f"{word} cannot stand here" if known else unknown_word(word.rpartition(".")[2], section, engines)
            raise UsageError(f"{place}: {PATH}: {told}")


def _ranged(value: Mapping[str, Any]) -> bool:
    return bool(set(value) & {"min", "max"})


_SECTIONS = frozenset(name.rpartition(".")[0] for name in WORDS if "." in name)
