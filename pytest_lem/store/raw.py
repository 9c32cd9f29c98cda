"""Each device's own readings, kept before anything is summed: `raw/<slug>-<hash>-c<cycle>-<device>.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from pytest_lem.model.cycle import Cycle
from pytest_lem.model.errors import StoreError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import RankRun, Round
from pytest_lem.model.specs import Frozen
from pytest_lem.model.telemetry import DeviceUse
from pytest_lem.store.files import slug, to_json, unique_slug, write_atomic
from pytest_lem.store.samples import Phase


class RawReading(Frozen):
    """One reading with the round it belongs to; times on the host's monotonic clock.

    `ranks` are those of the engine's processes that ran on the device in that round: one on its GPU, all of them on the
    host's CPUs and memory where the engine runs there. `use` is what a GPU told of itself meanwhile.
    """

    phase: Phase
    round: int
    start_ns: int
    end_ns: int
    valid: bool
    reading: DeviceReading
    ranks: tuple[RankRun, ...] = ()
    use: DeviceUse | None = None


class RawDevice(Frozen):
    """All readings of one device in one cycle of one measurement, by every meter that reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.raw/1"] = Field(default="lem.raw/1", alias="schema")
    measurement_id: str
    cycle: int
    launch: str
    device: str
    readings: tuple[RawReading, ...]


def write_raw(folder: Path, measurement: Measurement) -> list[Path]:
    """One file a cycle and device; an earlier file of the same name stays and the new one is numbered.

    Raises StoreError that names the path.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
    paths = []
    for cycle in measurement.cycles:
        for raw in _devices(measurement.id, cycle):
            name = f"{unique_slug(raw.measurement_id)}-c{raw.cycle}-{slug(raw.device)}"
            path = free_path(folder, name)
            write_atomic(path, to_json(raw, indent=1) + "\n")
            paths.append(path)
    return paths


def _devices(measurement_id: str, cycle: Cycle) -> list[RawDevice]:
    found: dict[str, list[RawReading]] = {}
    for raw in [*_readings("warmup", cycle.warmup_rounds), *_readings("round", cycle.rounds)]:
        found.setdefault(raw.reading.device, []).append(raw)
    return [
        RawDevice(
            measurement_id=measurement_id,
            cycle=cycle.index,
            launch=cycle.launch,
            device=device,
            readings=tuple(readings),
        )
        for device, readings in found.items()
    ]


def _readings(phase: Phase, rounds: tuple[Round, ...]) -> list[RawReading]:
    return [
        RawReading(
            phase=phase,
            round=each.index,
            start_ns=each.start_ns,
            end_ns=each.end_ns,
            valid=each.valid,
            reading=reading,
            ranks=tuple(rank for rank in each.ranks if rank.device == _place(reading)),
            use=next((use for use in each.use if use.device == reading.device), None),
        )
        for each in rounds
        for reading in each.devices
    ]


def _place(reading: DeviceReading) -> str:
    """What a rank calls the device that was read."""
    return reading.device if reading.kind == "gpu" else "cpu"


def free_path(folder: Path, name: str, ending: str = ".json") -> Path:
    """The first path of this name that is not taken: a test that runs again adds, it does not replace."""
    path, number = folder / f"{name}{ending}", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}{ending}"
    return path
