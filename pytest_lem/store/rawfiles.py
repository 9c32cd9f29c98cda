"""The raw files of a run, read back: what each device said in each window, before anything was summed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from pytest_lem.model.cycle import Cycle
from pytest_lem.model.errors import StoreError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import Round
from pytest_lem.store.checks import Fault, place_of
from pytest_lem.store.files import from_json
from pytest_lem.store.raw import RawDevice

Key: TypeAlias = tuple[str, int, str, int, int]
"""Launch, cycle, phase, start and end of a window."""
Readings: TypeAlias = Mapping[Key, list[DeviceReading]]


def read_raw(folder: Path) -> tuple[dict[Key, list[DeviceReading]], list[str]]:
    """The readings of each window, and a line for each file that cannot be read."""
    found: dict[Key, list[DeviceReading]] = {}
    broken = []
    for path in sorted((folder / "raw").glob("*.json")):
        try:
            raw = from_json(RawDevice, path)
        except StoreError as error:
            broken.append(str(error))
            continue
        for each in raw.readings:
            key = (raw.launch, raw.cycle, each.phase, each.start_ns, each.end_ns)
            found.setdefault(key, []).append(each.reading)
    return found, broken


def with_raw(measurement: Measurement, raw: Readings) -> Measurement:
    """The measurement with what its raw files say in place of its own readings, where there are any."""

    def replaced(cycle: Cycle, phase: str, rounds: tuple[Round, ...]) -> tuple[Round, ...]:
        devices = [raw.get(_key(cycle, phase, each)) for each in rounds]
        return tuple(
            each if found is None else each.model_copy(update={"devices": tuple(found)})
            for each, found in zip(rounds, devices, strict=True)
        )

    cycles = tuple(
        cycle.model_copy(
            update={
                "warmup_rounds": replaced(cycle, "warmup", cycle.warmup_rounds),
                "rounds": replaced(cycle, "round", cycle.rounds),
            }
        )
        for cycle in measurement.cycles
    )
    return measurement.model_copy(update={"cycles": cycles})


def disagreements(measurement: Measurement, raw: Readings) -> Iterator[Fault]:
    """Where the raw files and the report do not hold the same readings: a rank's file is missing, or there twice."""
    for cycle in measurement.cycles:
        if cycle.cut_short:
            continue  # its raw files are written at its end
        place = place_of(measurement, cycle)
        for phase, rounds in (("warmup", cycle.warmup_rounds), ("round", cycle.rounds)):
            for each in rounds:
                name = f"{'warm-up ' if phase == 'warmup' else ''}round {each.index}"
                yield from _of_round(place, name, each, raw.get(_key(cycle, phase, each), []))


def _of_round(place: str, name: str, round_: Round, raw: list[DeviceReading]) -> Iterator[Fault]:
    told = _by_device(round_.devices)
    read = _by_device(raw)
    for device in dict.fromkeys([*told, *read]):
        mine, theirs = told.get(device, []), read.get(device, [])
        if len(theirs) < len(mine):
            yield Fault(place, f"rank missing: no raw file holds {device}", name)
        elif not mine and len(theirs) == 1:
            yield Fault(place, f"raw files hold {device}, and report.json has no reading of it", name)
        elif len(theirs) > len(mine):
            yield Fault(place, f"energy counted twice: raw files hold {device} {len(theirs)} times", name)
        elif mine != theirs:
            yield Fault(place, f"raw files say other of {device} than report.json", name, _numbers(mine, theirs))


def _by_device(readings: list[DeviceReading] | tuple[DeviceReading, ...]) -> dict[str, list[DeviceReading]]:
    found: dict[str, list[DeviceReading]] = {}
    for each in readings:
        found.setdefault(f"{'GPU ' if each.kind == 'gpu' else ''}{each.device}", []).append(each)
    return found


def _numbers(mine: list[DeviceReading], theirs: list[DeviceReading]) -> str:
    pairs = [(one.joules, other.joules) for one, other in zip(mine, theirs, strict=True) if one.joules != other.joules]
    return "; ".join(f"{_joules(other)}, not {_joules(one)}" for one, other in pairs)


def _joules(value: float | None) -> str:
    return "none" if value is None else f"{value:.9g} J"


def _key(cycle: Cycle, phase: str, round_: Round) -> Key:
    return cycle.launch, cycle.index, phase, round_.start_ns, round_.end_ns
