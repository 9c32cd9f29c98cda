"""The steady part of a pass of traffic, from tick to tick of the energy counter: joules, and the work between. Pure.

A window is three ticks long, and 0.3 s at least. A tick is dated to 2 ms, a prefill to the steps between which it ran:
where the joules of a prefill come half of its length before its stamps, 95 % intervals from windows of 0.1 s miss the
truth in 8 to 11 of 100 simulated sessions, from windows of 0.3 s in 4 to 6. Ticks that come faster don't help: what is
short is the window beside a prefill.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_lem.device_joules import Context, engine_readings
from pytest_lem.flow import done_by, is_timed, phase_seconds, tells_prefills
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import Round
from pytest_lem.phases import CACHED, TICKS

Array = NDArray[np.float64]
NS = 1e9
SECONDS = 0.3
"""The least length of a window."""
STRAY = 0.25
"""By how much of a tick the last one may come early before a window takes one more."""


@dataclass(frozen=True)
class Windows:
    """The windows of one round: length (s), the engine's joules, prompt tokens and tokens after each first, of each.

    `prefill_seconds` and `decode_seconds` is how long some prefill, some decode was under way in all of them, `tick_s`
    how far ticks are apart.
    """

    seconds: Array
    joules: Array
    prompt_tokens: Array
    decode_tokens: Array
    prefill_seconds: float
    decode_seconds: float
    tick_s: float


def steady_windows(round_: Round, context: Context) -> Windows:
    """The windows of a round of traffic. Raises ValueError, which says why there are none."""
    readings = engine_readings(round_.devices, context)
    fault = _fault(round_, readings)
    served, latency = round_.served, round_.latency
    if fault or served is None or latency is None:
        raise ValueError(fault or "requests did not come over time")
    slowest = max(readings, key=_tick_s)
    tick_s = _tick_s(slowest)
    ticks = _within(slowest, _told(round_, readings))
    edges = _seconds(_apart(ticks, max(TICKS * tick_s, SECONDS) - STRAY * tick_s), served.start_ns)
    if len(edges) < 2:
        raise ValueError(f"the steady part of a round has no {TICKS} ticks, {SECONDS:g} s at least")
    joules = sum(np.interp(edges, *_curve(reading, served.start_ns)) for reading in readings)
    prompts, tokens = done_by(latency.requests, served.prompt_lengths, edges)
    prefill, decode = phase_seconds(latency.requests, float(edges[0]), float(edges[-1]))
    return Windows(
        seconds=np.diff(edges),
        joules=np.diff(joules),
        prompt_tokens=np.diff(prompts),
        decode_tokens=np.diff(tokens),
        prefill_seconds=prefill,
        decode_seconds=decode,
        tick_s=tick_s,
    )


def _fault(round_: Round, readings: list[DeviceReading]) -> str | None:
    """Why nothing is known of what happened inside a round."""
    faults = (_untold(round_), *map(_unread, readings), None if readings else "no meter reads the engine's devices")
    return next((fault for fault in faults if fault), None)


def _untold(round_: Round) -> str | None:
    """What the engine does not tell of the work that it did when."""
    if round_.served is None or round_.latency is None or not is_timed(round_.latency.requests):
        return "the engine does not tell when requests came"
    if not tells_prefills(round_.latency.requests):
        return "the engine does not tell when prefill began, so that waiting in its queue would count as prefill"
    if round_.counters.get("cached_tokens"):
        return CACHED
    return None if round_.served.steady else "the traffic has no steady time; give it more requests or seconds"


def _unread(reading: DeviceReading) -> str | None:
    """Why a device's joules are not known moment by moment."""
    if reading.source == "estimated":
        return f"{reading.device} is estimated ({reading.meter}): a model knows nothing of single moments"
    if reading.method == "power-integral":
        return f"{reading.device} has no energy counter, and its power is told too coarsely for single moments"
    if reading.joules is None:
        return f"{reading.meter} on {reading.device}: {reading.reason}"
    return None if reading.ticks else f"{reading.meter} on {reading.device} tells joules, but not at which moments"


def _told(round_: Round, readings: list[DeviceReading]) -> tuple[int, int]:
    """From when to when in a round all devices tell their ticks (ns)."""
    begin = max(round_.start_ns, *(reading.ticks[0][0] for reading in readings))
    return begin, min(round_.end_ns, *(reading.ticks[-1][0] for reading in readings))


def _within(reading: DeviceReading, span: tuple[int, int]) -> list[int]:
    begin, end = span
    return [time for time, _ in reading.ticks if begin <= time <= end]


def _apart(times_ns: list[int], least_s: float) -> list[int]:
    """The first time, and each next one that is so much later than the one before it."""
    kept = times_ns[:1]
    for time in times_ns:
        if time - kept[-1] >= least_s * NS:
            kept.append(time)
    return kept


def _tick_s(reading: DeviceReading) -> float:
    times = [time for time, _ in reading.ticks]
    return float(np.median(np.diff(times))) / NS if len(times) > 1 else 0.0


def _curve(reading: DeviceReading, start_ns: int) -> tuple[Array, Array]:
    """Its ticks (s after `start_ns`) and the joules there."""
    times, joules = zip(*reading.ticks, strict=True)
    return _seconds(times, start_ns), np.array(joules)


def _seconds(times_ns: tuple[int, ...] | list[int], start_ns: int) -> Array:
    return np.array([(time - start_ns) / NS for time in times_ns])
