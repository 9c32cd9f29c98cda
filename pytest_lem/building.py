"""What building an engine cost, apart from serving: its start under meters, and the joules of the build inside it."""

from __future__ import annotations

from collections.abc import Callable

from pytest_lem.engines.host import Engine
from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.registry import MeterSet
from pytest_lem.model.measurement import DeviceReading


def started(meters: MeterSet, start: Callable[[], Engine]) -> tuple[Engine, tuple[DeviceReading, ...]]:
    """Start an engine while the meters watch; the engine, and one reading a device over the time of its build.

    A counter is read between its ticks (100 ms), which is little of a build that takes seconds and minutes. A reading
    has null joules and the reason where its meter cannot be read while the GPU works, or the build lies outside of the
    start. No readings where the engine says of no build. Raises what `start` raises.
    """
    clock = HostClock()
    clock.sleep_until_ns(meters.begin(0))
    begin = clock.now_ns()
    with meters.watching():
        engine = start()
        end = clock.now_ns()
    whole = meters.end(begin, end)
    span = engine.build_span
    if span is None:
        return engine, ()
    readings = (trail.reading(*span) for trail in meters.trails(whole, begin, end))
    return engine, tuple(reading.replace(ticks=()) for reading in readings)
