"""Several runs as one: what may be mixed, what the one run is, and what it still lacks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel

from pytest_lem.campaign.lanes import parse_shard
from pytest_lem.model.environment import Checkout
from pytest_lem.model.measurement import Measurement
from pytest_lem.store.environment import Environment, Gpu
from pytest_lem.store.experiments import measured_experiment, whole_tests
from pytest_lem.store.run import RunRecord

ABOUT_WHERE_AND_WHEN = frozenset(
    f"lem_{name}"
    for name in (
        # which part of the whole, and where its files go
        *("shard", "results", "json", "html", "markdown"),
        # where it is measured: a cycle names its GPUs and how many measured beside it
        *("gpus", "gpus_per_worker", "lanes"),
        # when: a cycle tells its gap
        *("order", "seed", "gap"),
        # how it goes on after a failure
        *("resume", "resume_run", "retry_failed", "max_engine_failures"),
        # how often GPUs were asked beside the work: rounds without telemetry have none
        "telemetry",
        # a path on the machine; the engine's versions are compared instead
        "python",
        # compared as a fact of the run
        "quick",
    )
)
"""The options in which runs that are merged may differ; every other one changes what is measured."""


@dataclass(frozen=True)
class Part:
    """One of the runs: `name` is what the user called it, `missing` what its own report tells.

    `ended` is None where nothing is known of its end, `samples` holds a hash for each of its samples files. `unended`
    are items that were cut short, maybe between two measurements.
    """

    name: str
    folder: Path
    record: RunRecord
    measurements: tuple[Measurement, ...] = ()
    missing: tuple[str, ...] = ()
    ended: datetime | None = None
    samples: frozenset[str] = frozenset()
    unended: frozenset[str] = frozenset()

    @cached_property
    def whole(self) -> set[str]:
        """The items that came to their end, with all that they measured."""
        return whole_tests(self.measurements) - self.unended

    @property
    def shard(self) -> tuple[int, int] | None:
        """(I, N) of `--lem-shard=I/N`, None for a run that was no shard. Raises UsageError for anything else."""
        asked = self.record.asked.get("lem_shard")
        return parse_shard(str(asked)) if asked else None


Pairs: TypeAlias = Iterator[tuple[Part, Part, str]]


def in_order(parts: Iterable[Part]) -> list[Part]:
    """Shards by their number, other runs as they were given."""
    return sorted(parts, key=lambda part: part.shard or (0, 0))


def labels(parts: Sequence[Part]) -> list[str]:
    """A word for each part that its files' names begin with: its shard's number, else its place; all equally long."""
    numbers = [part.shard[0] if part.shard else place for place, part in enumerate(parts, start=1)]
    return [f"{number:0{len(str(max(numbers)))}}" for number in numbers]


def conflicts(parts: Sequence[Part]) -> list[str]:
    """Why these runs cannot be one: a line a fact, each naming two of them. None where they can."""
    twice = [f"{one.name} and {other.name} are the same run; name it once" for one, other in _given_twice(parts)]
    checks: tuple[Callable[[Sequence[Part]], Pairs], ...]
    checks = (_shards, _places, _commits, _asked, _engines, _specs, _items)
    return twice or [
        f"{one.name} and {other.name} cannot be merged: {fact}" for check in checks for one, other, fact in check(parts)
    ]


def absent_shards(parts: Sequence[Part]) -> list[str]:
    """One line that names the shards that were not given; none where there are all, or where none is a shard."""
    given = [part.shard for part in parts if part.shard]
    count = given[0][1] if given else 0
    absent = [str(number) for number in range(1, count + 1) if (number, count) not in given]
    if not absent:
        return []
    if len(absent) == 1:
        return [f"shard {absent[0]} of {count} is missing"]
    return [f"shards {', '.join(absent[:-1])} and {absent[-1]} of {count} are missing"]


def still_missing(parts: Sequence[Part]) -> list[str]:
    """What the runs' own reports tell, less the items that another of them measured; then the absent shards."""
    measured = {test for part in parts for test in part.whole}
    told = [line for part in parts for line in part.missing if not _is_about(line, measured)]
    return [*told, *absent_shards(parts)]


def merged_record(parts: Sequence[Part], name: str) -> RunRecord:
    """The record of the one run: all plans, all boards, the earliest start, the first one's options less its shard."""
    first = parts[0].record
    options = {key: _without_shard(value) for key, value in first.options.items()}
    return first.replace(
        id=name,
        started=min(part.record.started for part in parts),
        options=options | {"merged": [part.record.id for part in parts]},
        environment=_environment([part.record.environment for part in parts]),
        plan=tuple(dict.fromkeys(test for part in parts for test in part.record.plan)),
    )


def _given_twice(parts: Sequence[Part]) -> Iterator[tuple[Part, Part]]:
    for number, part in enumerate(parts):
        for other in parts[:number]:
            if part.record.id == other.record.id or (part.samples and part.samples == other.samples):
                yield other, part


def _shards(parts: Sequence[Part]) -> Pairs:
    first, seen = parts[0], dict[int, Part]()
    for part in parts:
        if part.shard is None or first.shard is None:
            if part.shard != first.shard:
                yield first, part, f"{_shard(first)} and {_shard(part)}"
        elif part.shard[1] != first.shard[1]:
            yield first, part, f"{_shard(first)} and {_shard(part)}"
        elif part.shard[0] in seen:
            yield seen[part.shard[0]], part, f"each is {_shard(part)}"
        else:
            seen[part.shard[0]] = part


def _shard(part: Part) -> str:
    return "shard {}/{}".format(*part.shard) if part.shard else "no shard"


def _places(parts: Sequence[Part]) -> Pairs:
    first, *others = parts
    here = first.record.environment
    for part in others:
        there = part.record.environment
        facts = {
            "Python": (here.python, there.python),
            "CPU": (here.cpu or None, there.cpu or None),
            "GPU": (_models(here.gpus), _models(there.gpus)),
            "driver": (_drivers(here.gpus), _drivers(there.gpus)),
        }
        for fact in [*_differences(here.packages, there.packages), *_unequal(facts)]:
            yield first, part, fact


def _models(gpus: Iterable[Gpu]) -> str:
    known = {f"{gpu.name}{f' at {gpu.power_limit_w:g} W' if gpu.power_limit_w else ''}" for gpu in gpus}
    return ", ".join(sorted(known)) or "none"


def _drivers(gpus: Iterable[Gpu]) -> str:
    return ", ".join(sorted({gpu.driver or "unknown" for gpu in gpus})) or "none"


def _commits(parts: Sequence[Part]) -> Pairs:
    """Other code measures something else. A run that tells no commit is held against none."""
    told = [(part, git.commit) for part in parts if (git := part.record.environment.git)]
    for part, commit in told[1:]:
        first, known = told[0]
        if commit != known:
            yield first, part, f"commit {known[:12]} and {commit[:12]}"


def _asked(parts: Sequence[Part]) -> Pairs:
    first, *others = parts
    here = _comparable(first.record)
    for part in others:
        for fact in _differences(here, _comparable(part.record)):
            yield first, part, fact


def _comparable(record: RunRecord) -> dict[str, Any]:
    asked = {name: value for name, value in record.asked.items() if name not in ABOUT_WHERE_AND_WHEN}
    flags = {f"--{name.replace('_', '-')}": _text(value) for name, value in asked.items()}
    return flags | {"--lem-quick": "on" if record.quick else "off"}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _engines(parts: Sequence[Part]) -> Pairs:
    seen: dict[str, tuple[Part, Mapping[str, Any]]] = {}
    for part in parts:
        for backend, versions in _versions(part).items():
            other, known = seen.setdefault(backend, (part, versions))
            for fact in _differences(known, versions):
                yield other, part, f"engine {backend} with {fact}"


def _versions(part: Part) -> dict[str, Mapping[str, Any]]:
    """What each engine of a run says of the versions that it ran with; one that says nothing is left out."""
    engines = [item.engine for item in part.measurements if item.engine]
    told = {engine.requested.backend: engine.observed.get("versions") for engine in engines}
    return {backend: versions for backend, versions in told.items() if isinstance(versions, dict)}


def _specs(parts: Sequence[Part]) -> Pairs:
    seen: dict[tuple[str, str], tuple[Part, dict[str, Any]]] = {}
    for part in parts:
        for item in part.measurements:
            experiment = measured_experiment(item)
            other, known = seen.setdefault((experiment, item.name), (part, _spec(item)))
            if other is not part and (facts := _differences(known, _spec(item))):
                yield other, part, f"{experiment} with {', '.join(facts)}"


def _spec(item: Measurement) -> dict[str, Any]:
    """What was asked of an experiment, as one flat mapping; the interpreter's path is the machine's own affair."""
    models: dict[str, BaseModel | None] = {
        "engine": item.engine.requested.replace(python=None) if item.engine else None,
        "workload": item.workload,
        "protocol": item.protocol,
    }
    return {
        f"{name} {key}": value for name, model in models.items() if model for key, value in model.model_dump().items()
    }


def _items(parts: Sequence[Part]) -> Pairs:
    owner: dict[str, Part] = {}
    for part in parts:
        both: dict[str, list[str]] = {}
        for test in dict.fromkeys(item.test for item in part.measurements if item.test in part.whole):
            if test in owner:
                both.setdefault(owner[test].name, []).append(test)
        for tests in both.values():
            more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
            yield owner[tests[0]], part, f"both measured {tests[0]}{more}"
        owner = dict.fromkeys(part.whole, part) | owner


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    return _unequal({name: (here.get(name), there.get(name)) for name in dict.fromkeys([*here, *there])})


def _unequal(facts: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [
        f"{name} {'none' if one is None else one} and {'none' if other is None else other}"
        for name, (one, other) in facts.items()
        if one != other
    ]


def _is_about(line: str, tests: set[str]) -> bool:
    """Whether a line of what is missing begins with one of `tests`; an id may hold `: ` itself."""
    ends = (at for at in range(len(line)) if line.startswith(": ", at))
    return any(line[:end] in tests for end in ends)


def _without_shard(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: entry for key, entry in value.items() if key != "lem_shard"}


def _environment(all_of_them: Sequence[Environment]) -> Environment:
    boards = {gpu.uuid: gpu for environment in all_of_them for gpu in environment.gpus}
    return all_of_them[0].replace(
        host=", ".join(dict.fromkeys(environment.host for environment in all_of_them)),
        platform=", ".join(dict.fromkeys(environment.platform for environment in all_of_them)),
        gpus=tuple(boards.values()),
        git=_git([environment.git for environment in all_of_them]),
    )


def _git(checkouts: Sequence[Checkout | None]) -> Checkout | None:
    """The commit of all of them, changed where it was for one; None where one tells none."""
    known = [each for each in checkouts if each is not None]
    if len(known) < len(checkouts):
        return None
    return known[0].replace(changed=any(each.changed for each in known))
