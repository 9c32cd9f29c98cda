"""A GPU's moments → what a window of them comes to. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import fsum

from pytest_lem.meters.gauges import THROTTLED
from pytest_lem.meters.moments import Moment, Track
from pytest_lem.model.telemetry import GAUGES, DeviceUse, Gauge, Spread, Timeline

UNSEEN = "the window ended before a first value"


def inside(moments: Sequence[Moment], start_ns: int, end_ns: int) -> list[Moment]:
    """The moments of a window."""
    return [moment for moment in moments if start_ns <= moment.time_ns <= end_ns]


def device_use(track: Track, start_ns: int, end_ns: int, *, reason: str | None = None) -> DeviceUse:
    """The summary of a window from `start_ns` to `end_ns` (monotonic); `reason` says why sampling ended early.

    A value that reaches back before the window is no value of it.
    """
    moments, seconds = inside(track.moments, start_ns, end_ns), (end_ns - start_ns) / 1e9

    def spread(gauge: Gauge) -> Spread:
        begun = start_ns + round(track.gauges.late_s.get(gauge.key, 0.0) * 1e9)
        told = _told(gauge, moments, begun)
        return _spread(gauge, told, reason or track.missing(gauge.key, some=bool(told)))

    return DeviceUse(
        device=track.gauges.uuid,
        samples=len(moments),
        hertz=_hertz([moment.time_ns for moment in moments]),
        gauges={gauge.key: spread(gauge) for gauge in GAUGES},
        throttle_reasons=throttled(moments),
        cpu_share=fsum(moment.cpu_s for moment in moments) / seconds if moments and seconds > 0 else None,
        reason=reason,
        notes=track.gauges.notes,
    )


def timeline(track: Track, start_ns: int, end_ns: int) -> Timeline:
    """All that was told in a window."""
    moments = inside(track.moments, start_ns, end_ns)
    values = {gauge.key: tuple(_number(moment, gauge.key) for moment in moments) for gauge in GAUGES}
    return Timeline(
        device=track.gauges.uuid,
        time_ns=tuple(moment.time_ns for moment in moments),
        since_ns=tuple(moment.since_ns for moment in moments),
        values={key: told for key, told in values.items() if any(value is not None for value in told)},
        throttle_reasons=tuple(_reasons(moment) for moment in moments),
    )


def _number(moment: Moment, key: str) -> float | None:
    value = moment.values.get(key)
    return None if value is None or isinstance(value, tuple) else float(value)


def _reasons(moment: Moment) -> str | None:
    told = moment.values.get(THROTTLED)
    return ",".join(told) if isinstance(told, tuple) else None


def throttled(moments: Sequence[Moment]) -> dict[str, float] | None:
    """Each reason that was told → the share of the readings that told it; None where none was told at all."""
    told = [moment.values[THROTTLED] for moment in moments if THROTTLED in moment.values]
    if not told:
        return None
    seen = Counter(reason for reasons in told if isinstance(reasons, tuple) for reason in reasons)
    return {reason: count / len(told) for reason, count in seen.items()}


def _told(gauge: Gauge, moments: Sequence[Moment], begun_ns: int) -> list[Moment]:
    """Those that tell this of `begun_ns` or later: a mean by the reading that it is the mean since."""
    return [
        moment
        for moment in moments
        if gauge.key in moment.values and moment.time_ns - (moment.covers_ns if gauge.over_time else 0) >= begun_ns
    ]


def _spread(gauge: Gauge, told: Sequence[Moment], missing: str | None) -> Spread:
    import numpy as np  # slow to import, and not needed where nothing is sampled

    if not told:
        return Spread(reason=missing or UNSEEN)
    values = np.asarray([moment.values[gauge.key] for moment in told], dtype=float)
    weights = np.asarray([moment.covers_ns for moment in told], dtype=float) if gauge.over_time else None
    low, p5, p95, high = (float(each) for each in np.percentile(values, (0, 5, 95, 100)))
    mean = min(max(float(np.average(values, weights=weights)), low), high)  # a sum of floats may round past them
    return Spread(mean=mean, min=low, max=high, p5=p5, p95=p95, n=len(told), reason=missing)


def _hertz(times_ns: Sequence[int]) -> float | None:
    if len(times_ns) < 2 or times_ns[-1] <= times_ns[0]:
        return None
    return (len(times_ns) - 1) / ((times_ns[-1] - times_ns[0]) / 1e9)
