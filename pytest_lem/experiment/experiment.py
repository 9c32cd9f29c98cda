"""An experiment file, whole: its name, what its marker says, what judges it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_lem.campaign.document import Document
from pytest_lem.engines import registry
from pytest_lem.experiment.excluded import exclusions
from pytest_lem.experiment.extends import Shown, load
from pytest_lem.experiment.gather import gathered
from pytest_lem.experiment.limits import budgets, gates
from pytest_lem.experiment.shape import check_shape
from pytest_lem.experiment.sweep import axes_of, configurations
from pytest_lem.experiment.translate import translate
from pytest_lem.model.errors import UsageError

SUFFIX = ".lem.yaml"


@dataclass(frozen=True)
class Experiment:
    """What a file comes to: `@pytest.mark.lem(**keywords)` above a test called `name`, with `budgets` and `gates`.

    `origins` maps the keywords' paths to `a.lem.yaml:7`, `file` is how errors call the file, `line` where it names
    itself, `notes` what was left out or understood.
    """

    name: str
    file: str
    line: int
    keywords: Mapping[str, Any]
    origins: Mapping[str, str]
    budgets: Mapping[str, float] = field(default_factory=dict)
    gates: Sequence[Mapping[str, Any]] = ()
    notes: tuple[str, ...] = ()


def is_experiment(name: str) -> bool:
    """Whether a file of this name holds experiments."""
    return name.endswith(SUFFIX) and name != SUFFIX


def read_experiment(path: Path, shown: Shown) -> Experiment:
    """The experiment in the file at `path`. Raises UsageError, one line with file and line."""
    document = load(path, shown)
    if "campaign" in document.values:
        raise UsageError(f"{document.origins['campaign']}: campaign: this file names other files; it is no experiment")
    return experiment_of(document, path, shown(path))


def experiment_of(document: Document, path: Path, file: str) -> Experiment:
    """The experiment that a document says; `path` names it where it has no name."""
    engines = registry.names()
    check_shape(document, engines)
    made = configurations(document)
    backends = _backends(made)
    found = gathered(
        [translate(each, engines, backends) for each in made], engines, listed="experiments" in document.values
    )
    keywords, origins = dict(found.keywords), dict(found.origins)
    if "experiments" in keywords:
        origins["experiments"] = document.origins.get("experiments") or document.origins["sweep"]
    excluded, told = exclusions(document, engines)
    if excluded:
        _exclude(keywords, origins, excluded, told, document)
    name = document.values.get("config_name") or path.name.removesuffix(SUFFIX)
    return Experiment(
        name=_slug(str(name)),
        file=file,
        line=int(document.origins.get("config_name", ":1").rpartition(":")[2]),
        keywords=keywords,
        origins=origins,
        budgets=budgets(document),
        gates=gates(document),
        notes=found.notes,
    )


def _backends(made: Sequence[Document]) -> tuple[str, ...]:
    """The engines that any of the configurations names."""
    given = [each.values.get("backend") for each in made]
    named = [name for each in given for name in (each if isinstance(each, list) else [each])]
    known = set(registry.names())
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name in known))


def _exclude(
    keywords: dict[str, Any],
    origins: dict[str, str],
    excluded: Sequence[Mapping[str, Any]],
    told: Mapping[str, str],
    document: Document,
) -> None:
    """`sweep.exclude` beside an `unless` that the file says itself."""
    own = keywords.get("unless") or []
    own = own if isinstance(own, list) else [own]
    keywords["unless"] = [*own, *excluded]
    origins.setdefault("unless", document.origins.get("sweep.exclude", ""))
    for index, origin in told.items():
        origins[f"unless[{int(index[1:-1]) + len(own)}]"] = origin


def _slug(name: str) -> str:
    """A name as pytest's ids and `-k` take it."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_") or "experiment"


__all__ = ["SUFFIX", "Experiment", "axes_of", "experiment_of", "is_experiment", "read_experiment"]
