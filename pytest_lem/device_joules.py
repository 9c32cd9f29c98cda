"""Joules of some devices over one round: which devices are the engine's, and what their sum is worth.

The engine's devices are its GPUs, or the host's CPU packages and memory where it runs on the CPU. Joules of several
devices are summed here and nowhere earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from pytest_lem.flops.peaks import Peaks
from pytest_lem.model.arithmetic import Arithmetic
from pytest_lem.model.reading import DeviceReading, MeterRecord, Source
from pytest_lem.model.round import Round
from pytest_lem.model.slo import ServiceLevel


@dataclass(frozen=True)
class Context:
    """What the metrics of a measurement need beside its rounds.

    `device` is where the engine runs (`cuda` or `cpu`), `meters` what was taken and refused, `grams_per_joule` the
    grid's factor, or None with `carbon_reason`. `work` is false for a plain window, which has no tokens. `slo` is the
    service level that the workload promises, if any. `arithmetic` are the FLOPs of a pass, `peaks` what the GPUs can do
    in its precision, or None with `peaks_reason`.
    """

    device: str
    meters: Sequence[MeterRecord] = ()
    grams_per_joule: float | None = None
    carbon_reason: str = "no carbon intensity was given (--lem-carbon=ISO3|GRAMS)"
    work: bool = True
    slo: ServiceLevel | None = None
    arithmetic: Arithmetic | None = None
    peaks: Peaks | None = None
    peaks_reason: str = "no published peaks are known for a CPU"


@dataclass(frozen=True)
class Joules:
    """Energy of some devices over one round: joules, standard uncertainty, source; or the reason why not."""

    joules: float | None
    std: float = 0.0
    source: Source | None = None
    reason: str | None = None


def whole_pass(round_: Round) -> Round:
    """The pass of traffic that a round was cut out of, as a round; any other round is its own passes already."""
    served = round_.served
    if served is None:
        return round_
    names = ("start_ns", "end_ns", "requests", "prompt_tokens", "tokens", "devices")
    return round_.model_copy(update={name: getattr(served, name) for name in names})


def engine_joules(round_: Round, context: Context) -> Joules:
    """Joules of the engine's devices over `round_`: its GPUs, or CPU packages (and memory, where it is counted)."""
    return joules_of(round_.devices, context)


def joules_of(devices: Sequence[DeviceReading], context: Context) -> Joules:
    """Joules of the engine's devices among these readings of one window."""
    return _added(engine_readings(devices, context), "gpu" if context.device == "cuda" else "cpu", context)


def engine_readings(devices: Sequence[DeviceReading], context: Context) -> list[DeviceReading]:
    """Those of the engine's devices, which are summed; none where no meter reads them."""
    if context.device == "cuda":
        return _of_kind(devices, "gpu")
    cpu, ram = _of_kind(devices, "cpu"), _of_kind(devices, "ram")
    of_cpu, of_ram = _added(cpu, "cpu", context), _added(ram, "ram", context)
    # A guess about the memory must not turn a measured CPU into an estimate.
    return cpu if of_ram.joules is None or of_ram.source != of_cpu.source else [*cpu, *ram]


def holds_host(key: str, context: Context) -> bool:
    """Whether the joules of the metric `key` hold some of the host's, which all engines on it share."""
    return key in _OF_HOST or (context.device == "cpu" and key != "gpu_joules")


def _sum(round_: Round, kind: str, context: Context) -> Joules:
    return _added(_of_kind(round_.devices, kind), kind, context)


def _of_kind(devices: Sequence[DeviceReading], kind: str) -> list[DeviceReading]:
    return [reading for reading in devices if reading.kind == kind]


def _added(readings: Sequence[DeviceReading], kind: str, context: Context) -> Joules:
    """The readings' sum; without any, the reason names `kind`."""
    if not readings:
        return Joules(None, reason=_no_meter(kind, context))
    parts = [_joules(reading) for reading in readings]
    return parts[0] if len(parts) == 1 else _add(parts)


def _joules(reading: DeviceReading) -> Joules:
    if reading.joules is None:
        return Joules(None, reason=f"{reading.meter} on {reading.device}: {reading.reason}")
    return Joules(reading.joules, reading.std or 0.0, reading.source)


def _add(parts: Iterable[Joules]) -> Joules:
    parts = list(parts)
    for part in parts:
        if part.joules is None:
            return part
    total = sum(part.joules for part in parts if part.joules is not None)
    source: Source = "estimated" if any(part.source == "estimated" for part in parts) else "measured"
    return Joules(total, sqrt(sum(part.std**2 for part in parts)), source)


def _no_meter(kind: str, context: Context) -> str:
    if kind == "gpu" and context.device == "cpu":
        return "the engine uses no GPU"
    refused = [f"{record.name}: {record.reason}" for record in context.meters if record.reason]
    what = {"gpu": "GPUs", "cpu": "the CPU", "ram": "memory"}.get(kind, kind)
    return f"no meter reads {what} here" + (f" ({'; '.join(refused)})" if refused else "")


def _system(round_: Round, context: Context) -> Joules:
    kinds = ("gpu", "cpu", "ram") if context.device == "cuda" else ("cpu", "ram")
    return _add(_sum(round_, kind, context) for kind in kinds)


def _co2(round_: Round, context: Context) -> Joules:
    if context.grams_per_joule is None:
        return Joules(None, reason=context.carbon_reason)
    joules = engine_joules(round_, context)
    if joules.joules is None:
        return joules
    factor = context.grams_per_joule
    return Joules(joules.joules * factor, joules.std * factor, "estimated")


_OF_HOST = ("cpu_joules", "ram_joules", "system_joules")
PARTS: dict[str, Callable[[Round, Context], Joules]] = {
    "gpu_joules": lambda round_, context: _sum(round_, "gpu", context),
    "cpu_joules": lambda round_, context: _sum(round_, "cpu", context),
    "ram_joules": lambda round_, context: _sum(round_, "ram", context),
    "system_joules": _system,
    "co2_grams": _co2,
}
