"""Cycles are measured as items of their own; a report shows the experiment, with all of its cycles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from pytest_lem.model.measurement import Measurement, MetricValue
from pytest_lem.model.workload import WorkloadSpec
from pytest_lem.store.aggregation import Aggregate

Metrics: TypeAlias = Mapping[str, MetricValue]
_CYCLE = re.compile(r"-c(\d+)\]$")


def experiment_of(test: str) -> str:
    """The id of the experiment that an item is a cycle of: `test_x[fake-bf16-b1-c2]` → `test_x[fake-bf16-b1]`."""
    return _CYCLE.sub("]", test)


def measured_experiment(measurement: Measurement) -> str:
    """The id of the experiment that was measured.

    As whoever measured it said: a user's own parameter may be called `c8`, as our cycles are.
    """
    return measurement.experiment or experiment_of(measurement.test)


def subject_of(measurement: Measurement) -> str:
    """What baselines call a measurement's experiment: its id, or the name that outlives a rename."""
    return measurement.known_as or measured_experiment(measurement)


def cycle_of(test: str) -> int:
    """Which cycle of its experiment an item is; 0 for one that has none in its id."""
    found = _CYCLE.search(test)
    return int(found[1]) if found else 0


def is_whole(measurement: Measurement) -> bool:
    """Whether it came to its own end: an interrupted or failed one is kept, and does not count as measured."""
    return bool(measurement.cycles) and not any(cycle.cut_short for cycle in measurement.cycles)


def current(items: Iterable[Measurement]) -> list[Measurement]:
    """Those of `items`, in the order of time, that measured what the last one of their item and experiment did.

    A run that is continued may ask for another workload, engine or protocol under the same id: what was measured before
    stays in the samples, and is no cycle of the new one. Cycles may draw prompts of their own.
    """
    items = list(items)
    exactly = {(item.test, item.name): _what(item, item.workload) for item in items}
    last = {(measured_experiment(item), item.name): repeated(item) for item in items}
    return [
        item
        for item in items
        if _what(item, item.workload) == exactly[item.test, item.name]
        and repeated(item) == last[measured_experiment(item), item.name]
    ]


def repeated(item: Measurement) -> object:
    """What all cycles of an experiment have in common: engine, workload but for its seeds, protocol. Comparable."""
    return _what(item, _unseeded(item.workload))


def apart(one: WorkloadSpec, other: WorkloadSpec) -> list[str]:
    """The names of what differs between two workloads, but for their seeds."""
    here, there = dict(_unseeded(one) or ()), dict(_unseeded(other) or ())
    return [name for name in here if here[name] != there[name]]


def _unseeded(workload: WorkloadSpec | None) -> WorkloadSpec | None:
    if workload is None:
        return None
    decoding = workload.decoding.model_copy(update={"seed": None})
    return workload.model_copy(update={"seed": 0, "decoding": decoding})


def _what(item: Measurement, workload: WorkloadSpec | None) -> object:
    # How many cycles there are in all changes none of them.
    protocol = item.protocol.model_copy(update={"cycles": 1})
    return (item.engine.requested if item.engine else None, workload, protocol)


def whole_tests(items: Iterable[Measurement]) -> set[str]:
    """The items of which each measurement, by its name, came to its own end at some attempt."""
    ended: dict[tuple[str, str], bool] = {}
    for item in current(items):
        key = (item.test, item.name)
        ended[key] = ended.get(key, False) or is_whole(item)
    return {test for test, _ in ended} - {test for (test, _), whole in ended.items() if not whole}


def joined(
    items: Iterable[Measurement], aggregate: Aggregate | None = None, plan: Sequence[str] = ()
) -> tuple[Measurement, ...]:
    """One measurement an experiment and name, in the order of `plan` (items), those that are not in it last.

    Every whole attempt at a cycle counts, since a test that ran again adds samples and replaces none; one that was cut
    short is left out where a whole one came after it. `aggregate` computes metrics over several cycles; without it a
    measurement of several keeps none.
    """
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for item in current(items):
        groups.setdefault((measured_experiment(item), item.name), []).append(item)
    places: dict[str, int] = {}
    for place, test in enumerate(plan):
        places.setdefault(test, place)
        places.setdefault(experiment_of(test), place)
    found = [_join(test, attempts, aggregate) for (test, _), attempts in groups.items()]
    return tuple(sorted(found, key=lambda measurement: places.get(measurement.test, len(plan))))


def _join(test: str, attempts: Sequence[Measurement], aggregate: Aggregate | None) -> Measurement:
    kept = _kept(attempts)
    first = kept[0]
    name = f"{test}#{first.name}" if first.name else test
    cycles = tuple(cycle for attempt in kept for cycle in attempt.cycles)
    one = first.model_copy(update={"id": name, "test": test, "cycles": cycles})
    if len(kept) == 1:
        return one
    metrics = dict(aggregate(one)) if aggregate else {}
    return one.model_copy(update={"metrics": metrics | _foreign(kept, metrics)})


def _kept(attempts: Sequence[Measurement]) -> list[Measurement]:
    by_cycle: dict[int, list[Measurement]] = {}
    for attempt in attempts:
        by_cycle.setdefault(_index(attempt), []).append(attempt)
    kept = []
    for _, same in sorted(by_cycle.items()):
        whole = [attempt for attempt in same if is_whole(attempt)]
        # A window's own code runs again where a run is continued: its last time counts.
        kept += whole[-1:] if whole and whole[-1].engine is None else whole or same[-1:]
    return kept


def _index(attempt: Measurement) -> int:
    return attempt.cycles[0].index if attempt.cycles else cycle_of(attempt.test)


def _foreign(kept: Sequence[Measurement], known: Metrics) -> dict[str, MetricValue]:
    """Metrics that rounds alone don't give (a hook's own, CO2 of a grid): their mean over the cycles, no interval."""
    found: dict[str, MetricValue] = {}
    sure = {key for key, value in known.items() if value.value is not None}
    for key in dict.fromkeys(key for attempt in kept for key in attempt.metrics if known and key not in sure):
        values = [attempt.metrics[key] for attempt in kept if key in attempt.metrics]
        present = [each.value for each in values if each.value is not None]
        mean = sum(present) / len(present) if present else None
        found[key] = values[0].model_copy(update={"value": mean, "low": None, "high": None, "n": len(present)})
    return found
