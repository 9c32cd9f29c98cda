"""How long experiments took: a small file beside the runs, for the plan of the next one. It may be lost."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Literal

from filelock import FileLock
from pydantic import ConfigDict, Field

from pytest_lem.model.errors import StoreError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.specs import EngineSpec, Frozen, ProtocolSpec
from pytest_lem.store.files import from_json, to_json, write_atomic

_FILE = "durations.json"


class Durations(Frozen):
    """Seconds by what was measured (`items`), by its experiment's id (`experiments`), of starts (`engines`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.durations/1"] = Field(default="lem.durations/1", alias="schema")
    items: dict[str, float] = Field(default_factory=dict)
    experiments: dict[str, float] = Field(default_factory=dict)
    engines: dict[str, float] = Field(default_factory=dict)


def item_key(engine: str, workload: str, protocol: str) -> str:
    """Names what an item measures, by the keys of its parts: the same test of another model is another."""
    return f"{engine}-{workload}-{protocol}"


def protocol_key(protocol: ProtocolSpec) -> str:
    """Names a protocol, however many cycles there are of it."""
    return protocol.model_copy(update={"cycles": 1}).key


def engine_key(spec: EngineSpec) -> str:
    """Names an engine, whether its device was resolved or not."""
    return spec.model_copy(update={"device": "auto"}).key


def read_durations(results: Path) -> Durations:
    """What is known under `results`; nothing where there is no file, or none that can be read."""
    with suppress(StoreError):
        return from_json(Durations, results / "runs" / _FILE)
    return Durations()


def remember(results: Path, measurements: Iterable[Measurement]) -> None:
    """Add what `measurements` took, over what was known of them. Raises StoreError."""
    path = results / "runs" / _FILE
    found = _found(measurements)
    try:
        with FileLock(path.with_name(f".{_FILE}.lock")):
            known = read_durations(results)
            write_atomic(
                path,
                to_json(
                    Durations(
                        items=known.items | found.items,
                        experiments=known.experiments | found.experiments,
                        engines=known.engines | found.engines,
                    )
                )
                + "\n",
            )
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _found(measurements: Iterable[Measurement]) -> Durations:
    items: dict[str, float] = {}
    experiments: dict[str, float] = {}
    engines: dict[str, float] = {}
    for measurement in measurements:
        seconds = [cycle.seconds for cycle in measurement.cycles if cycle.seconds is not None and not cycle.cut_short]
        if measurement.engine is None or measurement.workload is None or not seconds:
            continue
        spec = measurement.engine.requested
        # A test that measures several things takes the time of all of them.
        experiments[measurement.test] = experiments.get(measurement.test, 0.0) + fmean(seconds)
        key = item_key(engine_key(spec), measurement.workload.key, protocol_key(measurement.protocol))
        items[key] = experiments[measurement.test]
        loads = [cycle.load_seconds for cycle in measurement.cycles if cycle.load_seconds is not None]
        if loads:
            engines[engine_key(spec)] = fmean(loads)
    return Durations(items=items, experiments=experiments, engines=engines)
