"""The rounds of a measurement as the page draws them: when, how long, what each came to, what its devices drew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pytest_lem.device_joules import Context
from pytest_lem.launches import context_of
from pytest_lem.model.cycle import Cycle, Gap
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import Round
from pytest_lem.render.html.packing import Texts, short
from pytest_lem.round_values import round_value

OF_ENGINES = ("joules_per_token", "tokens_per_second", "power_w", "seconds")
OF_WINDOWS = ("gpu_joules", "cpu_joules", "power_w", "seconds")
DIGITS = 4
"""A pixel shows no more."""
FINE_POINTS = 40_000
"""Points of power within rounds that a page holds, over all of its rounds."""
MOST_POINTS = 200
_MS = 1e6
_ENDED = {"elapsed": "elapsed", "cool": "cool", "cap": "not cool at its cap", "no-gpu": "no GPU to cool"}


def fine_points(measurements: Sequence[Measurement]) -> int:
    """How many points of power each round may have, so that a page of many rounds stays light; 0: none has ticks."""
    ticked = sum(
        len(reading.ticks) > 1
        for measurement in measurements
        for cycle in measurement.cycles
        for round_ in rounds_of(cycle)
        for reading in round_.devices
    )
    return min(MOST_POINTS, max(2, FINE_POINTS // ticked)) if ticked else 0


def rounds_of(cycle: Cycle) -> tuple[Round, ...]:
    """All rounds of a cycle in order, those of its warm-up first."""
    return cycle.warmup_rounds + cycle.rounds


def packed_cycles(measurement: Measurement, texts: Texts, fine: int) -> list[dict[str, Any]]:
    """Every cycle of a measurement, in columns."""
    context = context_of(measurement)
    keys = OF_WINDOWS if measurement.engine is None else OF_ENGINES
    names = {device.id: device.name for meter in measurement.meters for device in meter.devices}
    return [_packed(cycle, keys, context, names, texts, fine) for cycle in measurement.cycles]


def _packed(
    cycle: Cycle, keys: Sequence[str], context: Context, names: dict[str, str], texts: Texts, fine: int
) -> dict[str, Any]:
    rounds = rounds_of(cycle)
    start = min((each.start_ns for each in rounds), default=0)
    found: dict[str, Any] = {
        "i": cycle.index,
        "w": len(cycle.warmup_rounds),
        "t": [round((each.start_ns - start) / _MS) for each in rounds],
        "d": [round((each.end_ns - each.start_ns) / _MS) for each in rounds],
        "v": _columns(keys, rounds, context),
        "bad": [
            [place, texts.place(each.reason or "no reason was recorded")]
            for place, each in enumerate(rounds)
            if not each.valid
        ],
        "said": [[place, texts.places(each.notes)] for place, each in enumerate(rounds) if each.notes],
        "dev": _devices(rounds, start, names, texts, fine),
        "stop": texts.place(cycle.stopped),
        "steady": cycle.steady,
        "load": short(cycle.load_seconds, DIGITS),
        "gap": texts.place(_told(cycle.gap)) if cycle.gap else None,
        "notes": texts.places(cycle.notes),
    }
    return {key: value for key, value in found.items() if value not in ([], {}, None, -1)}


def _told(gap: Gap) -> str:
    """A gap in one line: `waited 42 s before its engine started (--lem-gap=cool:120: cool; GPU-5c0f 41 °C 70 W)`."""
    states = ((gap.temperature_c, "°C"), (gap.power_w, "W"))
    boards = [
        " ".join([uuid[:8], *(f"{told[uuid]:.3g} {unit}" for told, unit in states if uuid in told)])
        for uuid in dict.fromkeys([*gap.temperature_c, *gap.power_w])
    ]
    end = "; ".join([_ENDED[gap.ended], *boards])
    return f"waited {gap.seconds:.3g} s before its engine started (--lem-gap={gap.asked}: {end})"


def _columns(keys: Sequence[str], rounds: Sequence[Round], context: Context) -> dict[str, list[float | None]]:
    """Metric → its value in each round, without the metrics that no round has."""
    columns = {key: [short(_value(key, each, context), DIGITS) for each in rounds] for key in keys}
    return {key: values for key, values in columns.items() if any(value is not None for value in values)}


def _value(key: str, round_: Round, context: Context) -> float | None:
    try:
        return round_value(METRICS[key], round_, context).value
    except (Unavailable, ZeroDivisionError):
        return None


def _devices(
    rounds: Sequence[Round], start: int, names: dict[str, str], texts: Texts, fine: int
) -> list[dict[str, Any]]:
    ids = dict.fromkeys(reading.device for each in rounds for reading in each.devices)
    found = []
    for device in ids:
        readings = [next((r for r in each.devices if r.device == device), None) for each in rounds]
        found.append(_device(device, list(zip(rounds, readings, strict=True)), start, names, texts, fine))
    return found


Read = tuple[Round, DeviceReading | None]


def _device(
    device: str, read: Sequence[Read], start: int, names: dict[str, str], texts: Texts, fine: int
) -> dict[str, Any]:
    """One device over the rounds: mean power of each, idle power around it, clocks and temperatures beside it (°C)."""
    known = [reading for _, reading in read if reading is not None]
    found: dict[str, Any] = {
        "id": texts.place(device),
        "name": texts.place(names.get(device)),
        "kind": known[0].kind,
        "how": texts.places(f"{each.meter}: {each.method}" for each in known),
        "guess": int(any(each.source == "estimated" for each in known)),
        "w": [short(_power(each, reading), DIGITS) for each, reading in read],
        "why": _reasons(known, texts),
        "idle": [_idle(each, reading) for each, reading in read],
        "fine": [
            [place, *_curve(reading, start, fine)]
            for place, (_, reading) in enumerate(read)
            if reading is not None and fine and len(reading.ticks) > 1
        ],
        "at": [_beside(each, reading) for each, reading in read],
        "mhz": [_states(reading, "sm_clock_mhz") for _, reading in read],
        "deg": [_states(reading, "temperature_c") for _, reading in read],
        "hot": _throttled(read, texts),
    }
    if not any(value is not None for pair in (*found["mhz"], *found["deg"]) for value in pair):
        found["at"] = []
    for key in ("idle", "mhz", "deg"):
        if not any(part is not None for parts in found[key] for part in parts):
            found[key] = []
    return {key: value for key, value in found.items() if value not in ([], -1, 0)}


def _power(round_: Round, reading: DeviceReading | None) -> float | None:
    if reading is None or reading.joules is None or round_.seconds <= 0:
        return None
    return reading.joules / round_.seconds


def _reasons(known: Sequence[DeviceReading], texts: Texts) -> list[int]:
    return texts.places(each.reason for each in known if each.joules is None and each.reason)


def _idle(round_: Round, reading: DeviceReading | None) -> list[Any]:
    """`[ms, W, ms, W]` of the idle edges, after the start and after the end of the round.

    None under traffic, where the power at an edge is the load's.
    """
    if reading is None or round_.served is not None or reading.head is None or reading.tail is None:
        return []
    head, tail = reading.head, reading.tail
    before, after = round((head.time_ns - round_.start_ns) / _MS), round((tail.time_ns - round_.end_ns) / _MS)
    return [before, short(head.power_w, DIGITS), after, short(tail.power_w, DIGITS)]


def _curve(reading: DeviceReading, start: int, most: int) -> tuple[list[int], list[float | None]]:
    """Mean power from tick to tick of the counter, of at most `most` stretches: when each ended (ms), and its W."""
    ticks = reading.ticks
    stretches = min(most, len(ticks) - 1)
    chosen = [ticks[round(place * (len(ticks) - 1) / stretches)] for place in range(stretches + 1)]
    times, powers = [], []
    for (before, old), (after, new) in pairwise(chosen):
        if after > before:
            times.append(round((after - start) / _MS))
            powers.append(short((new - old) / (after - before) * 1e9, DIGITS))
    return times, powers


def _beside(round_: Round, reading: DeviceReading | None) -> list[int | None]:
    """When the states before and after were asked for: ms after the start, and after the end, of the round."""
    edges = (round_.start_ns, round_.end_ns)
    states = (reading.before, reading.after) if reading else (None, None)
    return [
        None if state is None else round((state.time_ns - edge) / _MS)
        for state, edge in zip(states, edges, strict=True)
    ]


def _states(reading: DeviceReading | None, field: str) -> list[int | None]:
    """`field` before and after the round."""
    states = (reading.before, reading.after) if reading else (None, None)
    return [None if state is None else getattr(state, field) for state in states]


def _throttled(read: Sequence[Read], texts: Texts) -> list[list[int]]:
    """`[round, 0 before or 1 after it, why]`."""
    return [
        [place, side, texts.place(", ".join(state.throttle_reasons))]
        for place, (_, reading) in enumerate(read)
        if reading is not None
        for side, state in enumerate((reading.before, reading.after))
        if state is not None and state.throttle_reasons
    ]
