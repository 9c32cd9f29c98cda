"""What must hold in a report for its joules to be counted once, and all of them. Each check gives what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_lem.model.cycle import Cycle
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import RankRun, Round, Served

SAME_BOOT_NS = 60_000_000_000
"""Clocks of one boot agree on the time of day to less than this; a suspended or restarted host's do not."""
Window = tuple[int, int]


@dataclass(frozen=True)
class Fault:
    """What does not hold, and where: a measurement's cycle, and the `round` if it is of one. `detail` tells numbers."""

    place: str
    fault: str
    round: str = ""
    detail: str = ""


def place_of(measurement: Measurement, cycle: Cycle) -> str:
    """`test_x[b8], cycle 0`."""
    return f"{measurement.id}, cycle {cycle.index}"


def rounds_of(cycle: Cycle) -> list[tuple[str, Round]]:
    """All rounds of a cycle in the order of time, with what they are called."""
    warmup = [(f"warm-up round {each.index}", each) for each in cycle.warmup_rounds]
    return [*warmup, *((f"round {each.index}", each) for each in cycle.rounds)]


def ranks(measurement: Measurement) -> Iterator[Fault]:
    """Every GPU of an engine is there once, and is read in each round, and no other one is."""
    for cycle in measurement.cycles:
        place = place_of(measurement, cycle)
        for gpu, count in Counter(cycle.gpus).items():
            if count > 1:
                yield Fault(place, f"GPU {gpu} is {count} of its ranks")
        asked = measurement.engine.requested.gpus if measurement.engine else len(cycle.gpus)
        if cycle.gpus and len(cycle.gpus) != asked:
            yield Fault(place, f"{len(cycle.gpus)} of {asked} ranks are there")
        rounds = [(name, round_, _gpus(round_.devices)) for name, round_ in rounds_of(cycle)]
        if not cycle.gpus or not any(read for _, _, read in rounds):
            continue  # it ran on the CPU, or no meter reads GPUs
        for name, _, read in rounds:
            yield from (
                Fault(place, f"rank missing: GPU {gpu} is not read", name) for gpu in cycle.gpus if gpu not in read
            )
            yield from (
                Fault(place, f"GPU {gpu} is read and is none of its ranks", name)
                for gpu in sorted(read - {*cycle.gpus})
            )


def shared_work(measurement: Measurement) -> Iterator[Fault]:
    """Every rank of an engine is there once in each round, on one of its devices, and made the round's tokens.

    Replicas made them together, each the tokens of its own requests.
    """
    for cycle in measurement.cycles:
        place, rounds = place_of(measurement, cycle), rounds_of(cycle)
        known = max((len(round_.ranks) for _, round_ in rounds), default=0)
        for name, round_ in rounds:
            told = [each.rank for each in round_.ranks]
            if told != [*range(known)]:
                yield Fault(place, f"rank missing: {told} are told, of {known}", name)
            whole = round_.served or round_
            replicas = [each for each in round_.ranks if each.requests is not None]
            if replicas:
                yield from (Fault(place, *fault) for fault in _dealt(name, replicas, whole))
            for each in round_.ranks:
                if not replicas and each.tokens != whole.tokens:
                    detail = f"{each.tokens} and {whole.tokens:g}"
                    yield Fault(place, f"rank {each.rank} made other tokens than the round has", name, detail)
                if each.device != "cpu" and each.device not in cycle.gpus:
                    yield Fault(place, f"rank {each.rank} ran on {each.device}, which is none of the engine's", name)


def _dealt(name: str, replicas: Sequence[RankRun], whole: Round | Served) -> Iterator[tuple[str, str, str]]:
    for what in ("requests", "tokens"):
        parts = [getattr(each, what) for each in replicas]
        if sum(parts) != getattr(whole, what):
            detail = f"{' + '.join(map(str, parts))} and {getattr(whole, what):g}"
            yield f"its replicas have other {what} than the round", name, detail


def counted_once(measurement: Measurement) -> Iterator[Fault]:
    """No round has two readings of a device: their joules would be added."""
    for cycle in measurement.cycles:
        for name, round_ in rounds_of(cycle):
            counts = Counter((each.kind, each.device) for each in round_.devices)
            for (kind, device), count in counts.items():
                if count > 1:
                    fault = f"energy counted {_times(count)}: {_device(kind, device)} has {count} readings"
                    yield Fault(place_of(measurement, cycle), fault, name)


def windows(measurement: Measurement) -> Iterator[Fault]:
    """Each round has a length, and begins after the one before it has ended."""
    for cycle in measurement.cycles:
        place, rounds = place_of(measurement, cycle), rounds_of(cycle)
        for name, round_ in rounds:
            if round_.end_ns <= round_.start_ns:
                yield Fault(place, "its window ends before it begins", name)
        for (_, before), (name, after) in pairwise(rounds):
            if after.start_ns < before.end_ns:
                yield Fault(place, "energy counted twice: its window begins before the one before it has ended", name)


def work(measurement: Measurement) -> Iterator[Fault]:
    """Every pass is the same work: requests, prompt tokens and new tokens of a round are whole multiples of it."""
    workload = measurement.workload
    if workload is None or workload.arriving is not None:
        return
    named = [(cycle, *each) for cycle in measurement.cycles for each in rounds_of(cycle)]
    usual = Counter(_of_pass(round_) for _, _, round_ in named).most_common(1)
    for cycle, name, round_ in named:
        if _of_pass(round_) != usual[0][0]:
            told, other = _pass_words(usual[0][0]), _pass_words(_of_pass(round_))
            yield Fault(
                place_of(measurement, cycle),
                "a pass is not the work that it is in other rounds",
                name,
                f"{other}, not {told}",
            )


def overlaps(measurements: Iterable[Measurement], clocks: Mapping[Window, int]) -> Iterator[Fault]:
    """No GPU is measured for two engines at once. `clocks` tells how far a window's clock is from the time of day."""
    found: dict[str, list[tuple[Round, str, str]]] = {}
    for measurement in measurements:
        for cycle in measurement.cycles if measurement.engine else ():
            for name, round_ in rounds_of(cycle):
                for gpu in sorted(_gpus(round_.devices)):
                    found.setdefault(gpu, []).append((round_, place_of(measurement, cycle), name))
    for gpu, all_of_it in found.items():
        for (before, other, _), (after, place, name) in pairwise(sorted(all_of_it, key=lambda each: each[0].start_ns)):
            if other != place and after.start_ns < before.end_ns and _one_boot(before, after, clocks):
                yield Fault(place, f"energy counted twice: GPU {gpu} was measured for {other} at the same time", name)


def _one_boot(one: Round, other: Round, clocks: Mapping[Window, int]) -> bool:
    known = [clocks[window] for each in (one, other) if (window := (each.start_ns, each.end_ns)) in clocks]
    return len(known) < 2 or abs(known[0] - known[1]) < SAME_BOOT_NS


def _gpus(readings: Sequence[DeviceReading]) -> set[str]:
    return {each.device for each in readings if each.kind == "gpu"}


def _of_pass(round_: Round) -> tuple[float, float, float]:
    passes = max(round_.passes, 1)
    return round_.requests / passes, round_.prompt_tokens / passes, round_.tokens / passes


def _pass_words(work: tuple[float, float, float]) -> str:
    return "{:g} requests, {:g} prompt tokens, {:g} tokens".format(*work)


def _device(kind: str, device: str) -> str:
    return f"GPU {device}" if kind == "gpu" else device


def _times(count: int) -> str:
    return {2: "twice"}.get(count, f"{count} times")
