"""One configuration in its file's words → the keywords that `@pytest.mark.lem` takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from pytest_lem.campaign.document import Document
from pytest_lem.engines import registry
from pytest_lem.experiment.rules import RULES
from pytest_lem.experiment.sayings import Sayings, unsaid
from pytest_lem.experiment.shape import SECTIONS, check_shape
from pytest_lem.experiment.words import OFF, OPTIONS, SPELLED, WORDS
from pytest_lem.model.errors import UsageError


@dataclass(frozen=True)
class Translated:
    """Keywords of the marker; `origins` maps their paths (`vllm.max_num_seqs`) to `a.lem.yaml:7`; `notes` are what was
    left out or understood, each with its line.
    """

    keywords: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def translate(document: Document, engines: Collection[str], backends: tuple[str, ...] | None = None) -> Translated:
    """What the file says, without what `sweep`, `budget` and the like say.

    `engines` are those installed, `backends` those that the file runs (None: it says so itself). Raises UsageError, one
    line with file and line: an unknown word, a value that cannot be, two words that contradict each other.
    """
    check_shape(document, engines)
    said = Sayings(document, _backends(document) if backends is None else backends)
    for section in engines:
        _section(said, section)
    for word in WORDS.values():
        given = unsaid(said.of(word.name))
        held = isinstance(given, Mapping) and word.name in SECTIONS  # its own words say it
        if word.means is not None and given is not None and not held:
            said.put(word.means, given, word.name)
    for rule in RULES:
        rule(said)
    if said.of("unless") is not None:
        said.put("unless", said.of("unless"), "unless")
    keywords, origins = said.keywords()
    for engine in engines:
        _check_options(engine, keywords.get(engine), origins)
    return Translated(keywords, origins, tuple(said.notes))


def _backends(document: Document) -> tuple[str, ...]:
    given = document.values.get("backend")
    named = given if isinstance(given, list) else [given]
    return tuple(name for name in named if isinstance(name, str))


def _section(said: Sayings, engine: str) -> None:
    """The engine's own options, by the engine's names."""
    given = said.of(engine)
    if given is None:
        return
    if isinstance(given, list) and all(isinstance(each, Mapping) for each in given):
        said.put(engine, [dict(unsaid(each)) for each in given], engine)
    elif not isinstance(given, Mapping):
        said.refuse(engine, f"{engine}: expected options as a mapping, or a list of them; got {given!r}")
    else:
        for name, value in unsaid(given).items():
            if name in SPELLED.get(engine, {}):
                _spelled(said, engine, name, value)
            elif not _asks_nothing(engine, name, value):
                said.put(f"{engine}.{OPTIONS.get(engine, {}).get(name, name)}", value, f"{engine}.{name}")


def _spelled(said: Sayings, engine: str, name: str, value: Any) -> None:
    """Options that stand together under one name."""
    known, at = SPELLED[engine][name], f"{engine}.{name}"
    if not isinstance(value, Mapping):
        said.refuse(at, f"{at}: expected a mapping with {', '.join(known)}; got {value!r}")
    for inner, each in value.items():
        if inner not in known:
            near = get_close_matches(str(inner), known, n=1, cutoff=0.0)[0]
            said.refuse(f"{at}.{inner}", f"{at}: unknown key {inner!r}; the nearest known one is {near!r}")
        said.put(f"{engine}.{known[inner]}", each, f"{at}.{inner}")


def _asks_nothing(engine: str, name: str, value: object) -> bool:
    """Whether it is an option of LLenergyMeasure's that is off, and that the engine here does not know."""
    known = registry.entry(engine).options
    if known is not None and name in known.model_fields:
        return False
    return any(value == each and type(value) is type(each) for each in OFF.get(engine, {}).get(name, ()))


def _check_options(engine: str, given: Any, origins: Mapping[str, str]) -> None:
    """Raise UsageError with an option's own line, where the engine's check would know the section's alone."""
    if given is None:
        return
    kind = registry.entry(engine).options
    for index, options in enumerate(given if isinstance(given, list) else [given]):
        path = f"{engine}[{index}]" if isinstance(given, list) else engine
        if kind is None:
            continue
        try:
            kind.model_validate(options)
        except ValidationError as error:
            raise _refusal(error, kind.model_fields, path, origins) from None


def _refusal(error: ValidationError, known: Collection[str], path: str, origins: Mapping[str, str]) -> UsageError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    at = origins.get(f"{path}.{name}") or origins.get(path, "")
    engine = path.partition("[")[0]
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
        return UsageError(f"{at}: {engine}: unknown option {name!r}; the nearest known one is {near!r}")
    where = f"{engine}.{name}" if name else engine
    told = first["msg"].removeprefix("Value error, ")
    return UsageError(f"{at}: {where}: {told}" + (f" (got {first['input']!r})" if name else ""))
