"""The steady part of a pass of traffic, from tick to tick of the energy counter: joules, and the work between. Pure.

A window is three ticks long. A tick is dated to 2 ms, a prefill to the steps between which it ran: where the joules of
a prefill come half of its length before its stamps, 95 % intervals from windows of one tick miss the truth in 8 to 11
of 100 simulated sessions, from windows of three in 4 to 6. On an H100 vLLM's prefill came out a quarter cheaper with
one tick, and alike with two and three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_lem.device_joules import Context, engine_readings
from pytest_lem.flow import done_by, is_timed, phase_seconds
from pytest_lem.model.measurement import DeviceReading, Round
from pytest_lem.phases import TICKS

Array = NDArray[np.float64]
NS = 1e9


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
    inside = [time for time, _ in slowest.ticks if round_.start_ns <= time <= round_.end_ns][::TICKS]
    if len(inside) < 2:
        raise ValueError(f"the steady part of a round has no {TICKS} ticks")
    edges = _seconds(inside, served.start_ns)
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
        tick_s=_tick_s(slowest),
    )


def _fault(round_: Round, readings: list[DeviceReading]) -> str | None:
    """Why nothing is known of what happened inside a round."""
    if round_.served is None or round_.latency is None or not is_timed(round_.latency.requests):
        return "the engine does not tell when requests came"
    for reading in readings:
        if reading.source == "estimated":
            return f"{reading.device} is estimated ({reading.meter}): a model knows nothing of single moments"
        if reading.method == "power-integral":
            return f"{reading.device} has no energy counter, and its power is told too coarsely for single moments"
        if reading.joules is None:
            return f"{reading.meter} on {reading.device}: {reading.reason}"
    if not round_.served.steady:
        return "the traffic has no steady time; give it more requests or seconds"
    return None if readings else "no meter reads the engine's devices"


def _tick_s(reading: DeviceReading) -> float:
    times = [time for time, _ in reading.ticks]
    return float(np.median(np.diff(times))) / NS if len(times) > 1 else 0.0


def _curve(reading: DeviceReading, start_ns: int) -> tuple[Array, Array]:
    """Its ticks (s after `start_ns`) and the joules there."""
    times, joules = zip(*reading.ticks, strict=True)
    return _seconds(times, start_ns), np.array(joules)


def _seconds(times_ns: tuple[int, ...] | list[int], start_ns: int) -> Array:
    return np.array([(time - start_ns) / NS for time in times_ns])
