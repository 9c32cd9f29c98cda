"""What building an engine cost, apart from serving: its start under meters, and the joules of the build inside it."""

from __future__ import annotations

from collections.abc import Callable

from pytest_lem.engines.host import Engine
from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.registry import MeterSet
from pytest_lem.meters.trail import unread
from pytest_lem.model.reading import DeviceReading

UNDATED = "the engine does not tell when it began to build"


def started(open_meters: Callable[[], MeterSet], start: Callable[[], Engine]) -> Engine:
    """Start an engine while meters of its own watch; its `build_devices` are one reading a device over its build.

    A counter is read between its ticks (100 ms), which is little of a build that takes seconds and minutes. A reading
    has null joules and the reason where its meter cannot be read while the GPU works, or the build lies outside of the
    start; the guards' faults of the whole start are its own. No readings where the engine says of no build. Raises what
    opening, reading and `start` raise; no engine is left behind then.
    """
    engine: Engine | None = None
    clock = HostClock()
    try:
        with open_meters() as meters:
            clock.sleep_until_ns(meters.begin(0))
            begin = clock.now_ns()
            with meters.watching():
                engine = start()
                end = clock.now_ns()
            engine.build_devices = _readings(engine, meters, begin, end)
    except BaseException:
        if engine is not None:
            engine.kill()  # nobody else knows of it yet
        raise
    return engine


def _readings(engine: Engine, meters: MeterSet, begin: int, end: int) -> tuple[DeviceReading, ...]:
    whole = meters.end(begin, end)
    span = engine.build_span
    if engine.build_seconds is None:
        return ()
    if span is None:
        return tuple(unread(reading, UNDATED).reading(begin, end) for reading in whole)
    trails = meters.trails(whole, begin, end)
    return tuple(
        trail.reading(*span).replace(ticks=(), faults=reading.faults)
        for trail, reading in zip(trails, whole, strict=True)
    )
