"""One line a measurement: whether its decoding is bound by memory, by arithmetic, or by neither."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lem.model.arithmetic import Arithmetic
from pytest_lem.model.measurement import Measurement
from pytest_lem.render.numbers import plain_percent, with_unit

_HALF = 0.5
COUNTED = (
    "roofline: weights once a step and the KV cache that is attended to, at the published bandwidth; "
    "FLOPs at the published dense peak; the rest is the host, launches, and kernels below their peak"
)


def roofline_lines(measurements: Sequence[Measurement], names: Sequence[str]) -> list[str]:
    """A line for each measurement whose roofline is known, and what is counted; [] where none is."""
    lines = [f"{name}: {line}" for each, name in zip(measurements, names, strict=True) if (line := roofline(each))]
    return [*lines, COUNTED] if lines else []


def roofline(measurement: Measurement) -> str | None:
    """`decode is bound by memory: 71 % of a step are 2.47 GB read, 3 % are 79.1 GFLOP, 29 % neither`; None: not known.

    What takes at least half of the time is what binds; where nothing does, the host is what is left. Where no peak of
    FLOPs is known it only says what is read.
    """
    found = [measurement.metrics.get(f"roofline_{part}") for part in ("memory", "arithmetic", "rest")]
    known = next((cycle.arithmetic for cycle in measurement.cycles if cycle.arithmetic is not None), None)
    memory, arithmetic, rest = (each.value if each else None for each in found)
    if known is None or memory is None:
        return None
    read, flops = _of_a_step(known)
    if arithmetic is None or rest is None:
        why = (found[1] and found[1].reason) or "its peak is not known"
        told = f"of a step of decode {plain_percent(memory)} are {read} read; of its {flops}: {why}"
        return told + _measured(measurement)
    return (
        f"decode is bound by {_bound(memory, arithmetic)}: of a step {plain_percent(memory)} are {read} read, "
        f"{plain_percent(arithmetic)} are {flops}, {plain_percent(rest)} neither (FLOPs: {known.method})"
        f"{_measured(measurement)}"
    )


def _measured(measurement: Measurement) -> str:
    """The bandwidth that the GPU itself counted, beside the estimate; of prefill and decode alike."""
    found = measurement.metrics.get("dram_active")
    if found is None or found.value is None:
        return ""
    return f"; the GPU counted {plain_percent(found.value)} of its DRAM bandwidth over whole rounds"


def _bound(memory: float, arithmetic: float) -> str:
    if max(memory, arithmetic) < _HALF:
        return "the host, or by kernels below their peak"
    return "memory" if memory >= arithmetic else "arithmetic"


def _of_a_step(known: Arithmetic) -> tuple[str, str]:
    steps = known.decode_steps or 1
    read = (known.weights_read_bytes or 0.0) + (known.kv_read_bytes or 0.0)
    return with_unit(read / steps, "B"), with_unit((known.decode_flops or 0.0) / steps, "FLOP")
