"""Workloads of the user's own: functions that make requests, found by name.

An entry point of the group `pytest_lem.workloads`, or a function that a conftest gives through the hook
`pytest_lem_workloads`, is called with the WorkloadSpec and the size of the model's vocabulary (None: it does not tell).
It yields requests, as mappings or `workloads.work.Request`: `prompt` (a text, or token ids), and if it likes
`output_tokens` (else the workload's) and, under traffic={"arrivals": "generator"}, `arrival_s` (seconds after the pass
began, in order; all requests have one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from typing import Any

from pydantic import Field, ValidationError

from pytest_lem.model.errors import UsageError
from pytest_lem.model.frozen import Frozen
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.arrivals import MOST

GROUP = "pytest_lem.workloads"
Generator = Callable[[WorkloadSpec, int | None], Iterable[Mapping[str, Any]]]
_GIVEN: dict[str, Generator] = {}


class Made(Frozen):
    """One request as a generator gave it."""

    prompt: str | tuple[int, ...] = Field(min_length=1)
    output_tokens: int | None = Field(default=None, ge=1)
    arrival_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)


def give(generators: Sequence[object]) -> None:
    """Know these generators by name, above the installed ones, and no others that were given before.

    Raises UsageError for what maps no names.
    """
    _GIVEN.clear()
    for given in generators:
        if not isinstance(given, Mapping):
            raise UsageError(f"pytest_lem_workloads: expected names mapped to functions, got {given!r:.80}")
        _GIVEN.update(given)


def generate(workload: WorkloadSpec, vocab_size: int | None, most: int | None = None) -> list[Made]:
    """The requests of `workload.generator`: the first `most`, so that it may be endless; all, where nothing bounds it.

    Raises UsageError, one line that names it.
    """
    name = workload.generator or ""
    place = f"generator {name!r}"
    function = find_generator(name)
    try:
        found = list(islice(function(workload, vocab_size), MOST + 1 if most is None else most))
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{place}: {told(error)}") from error
    if not found:
        raise UsageError(f"{place}: gave no request")
    if len(found) > MOST:
        raise UsageError(f"{place}: over {MOST} requests, and nothing bounds them; give requests, or end it earlier")
    made = [_checked(place, index, each) for index, each in enumerate(found)]
    timed = [each for each in made if each.arrival_s is not None]
    if timed and len(timed) < len(made):
        raise UsageError(f"{place}: {len(timed)} of {len(made)} requests have an arrival_s; give it to all, or to none")
    return made


def find_generator(name: str) -> Generator:
    """The function of that name. Raises UsageError where there is none, or it cannot be imported or called."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in _GIVEN:
        return _callable(name, _GIVEN[name])
    if name in points:
        return _callable(name, _loaded(points[name]))
    known = sorted({*points, *_GIVEN})
    near = get_close_matches(name, known, n=1, cutoff=0.0)
    hint = (
        f"the nearest is {near[0]!r}" if near else f"none is installed (entry points of {GROUP}) or given by a conftest"
    )
    raise UsageError(f"generator {name!r}: no such generator; {hint}")


def _loaded(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        raise UsageError(
            f"generator {point.name!r}: its entry point {point.value!r} cannot be imported: {told(error)}"
        ) from error


def _callable(name: str, found: object) -> Generator:
    if not callable(found):
        raise UsageError(
            f"generator {name!r}: expected a function of the workload and the vocabulary's size, got {found!r:.80}"
        )
    function: Generator = found
    return function


def _checked(place: str, index: int, given: object) -> Made:
    if not isinstance(given, Frozen | Mapping):
        raise UsageError(f"{place}: request {index}: expected a mapping with a prompt, got {given!r:.80}")
    try:
        return Made.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = first["loc"][0]
        said = first["msg"] if where != "prompt" else "expected a text or token ids, and not an empty one"
        raise UsageError(f"{place}: request {index}: {where}: {said} (got {first['input']!r:.80})") from None


def told(error: Exception) -> str:
    """An exception in one line: its kind, and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
