"""Workloads of the user's own: functions that make requests, found by name.

An entry point of the group `pytest_lem.workloads`, or a function that a conftest gives through the hook
`pytest_lem_workloads`, is called with the WorkloadSpec and the size of the model's vocabulary (None: it does not tell).
It yields requests, as dictionaries: `prompt` (a text, or token ids), and if it likes `output_tokens` (else the
workload's) and `arrival_s` (seconds after the pass began, in order; all requests have one, or none has).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from itertools import islice
from typing import Any

from pydantic import Field, ValidationError

from pytest_lem.model.errors import UsageError
from pytest_lem.model.frozen import Frozen
from pytest_lem.model.specs import WorkloadSpec

GROUP = "pytest_lem.workloads"
Generator = Callable[[WorkloadSpec, int | None], Iterable[Mapping[str, Any]]]
_GIVEN: dict[str, Generator] = {}


class Made(Frozen):
    """One request as a generator gave it."""

    prompt: str | tuple[int, ...] = Field(min_length=1)
    output_tokens: int | None = Field(default=None, ge=1)
    arrival_s: float | None = Field(default=None, ge=0)


def give(generators: Mapping[str, Generator]) -> None:
    """Know these generators by name, above the installed ones."""
    _GIVEN.update(generators)


def generate(workload: WorkloadSpec, vocab_size: int | None) -> list[Made]:
    """The requests of `workload.generator`, at most `workload.requests`. Raises UsageError, one line that names it."""
    place = f"generator {workload.generator!r}"
    try:
        found = list(islice(_named(workload.generator or "")(workload, vocab_size), workload.requests))
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{place}: {type(error).__name__}: {error}") from error
    if not found:
        raise UsageError(f"{place}: gave no request")
    made = [_checked(place, index, each) for index, each in enumerate(found)]
    timed = [each for each in made if each.arrival_s is not None]
    if timed and len(timed) < len(made):
        raise UsageError(f"{place}: {len(timed)} of {len(made)} requests have an arrival_s; give it to all, or to none")
    return made


def _named(name: str) -> Generator:
    if name in _GIVEN:
        return _GIVEN[name]
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in points:
        loaded: Generator = points[name].load()
        return loaded
    known = sorted({*points, *_GIVEN})
    near = get_close_matches(name, known, n=1, cutoff=0.0)
    hint = (
        f"the nearest is {near[0]!r}" if near else f"none is installed (entry points of {GROUP}) or given by a conftest"
    )
    raise UsageError(f"generator {name!r}: no such generator; {hint}")


def _checked(place: str, index: int, given: object) -> Made:
    try:
        return Made.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{place}: request {index}: {where}: {first['msg']}") from None
