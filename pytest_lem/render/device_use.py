"""How GPUs were used while the engine worked: a line a measurement, and a row a GPU for who wants to know more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from pytest_lem.model.measurement import Measurement
from pytest_lem.model.telemetry import DeviceUse, Spread
from pytest_lem.render.numbers import ABSENT, plain_percent, significant, with_unit

SAMPLED = (
    "device use: sampled while the engine worked, means of the valid rounds; SM, tensor and DRAM are the GPU's own "
    "counters (GPM), shares of the time and of the DRAM's full bandwidth"
)
NOT_TOLD = frozenset({"idle"})
"""Reasons for low clocks that are no throttling."""
_ACTIVE = {"sm_active": "SM", "tensor_active": "tensor", "dram_active": "DRAM"}


@dataclass(frozen=True)
class Used:
    """One GPU over the valid rounds of a measurement: means and extremes by gauge, shares of throttle reasons.

    `throttled` is None where the card does not tell; `notes` say what its numbers are not.
    """

    device: str
    mean: dict[str, float]
    most: dict[str, float]
    least: dict[str, float]
    throttled: dict[str, float] | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    def shown(self, key: str) -> str:
        """A share's mean as people read it."""
        return plain_percent(self.mean[key]) if key in self.mean else ABSENT


def used(measurement: Measurement) -> list[Used]:
    """A row a GPU, in the order in which they were read; [] where no telemetry was taken."""
    found: dict[str, list[DeviceUse]] = {}
    for cycle in measurement.cycles:
        for round_ in cycle.rounds:
            for use in round_.use if round_.valid else ():
                found.setdefault(use.device, []).append(use)
    return [_pooled(device, uses) for device, uses in found.items()]


def device_use_lines(measurements: Sequence[Measurement], names: Sequence[str]) -> list[str]:
    """A line for each measurement with telemetry, and what the numbers are; [] where none has any."""
    lines = [f"{name}: {line}" for each, name in zip(measurements, names, strict=True) if (line := device_use(each))]
    return [*lines, SAMPLED] if lines else []


def device_use(measurement: Measurement) -> str | None:
    """`SM 75 %, tensor 72 %, DRAM 20 %; 512 W (at most 640), 1980 MHz, at most 61 °C, 30.1 GiB used`, and notes.

    The mean of several GPUs, and the most of any. None where no telemetry was taken.
    """
    rows = used(measurement)
    if not rows:
        return None
    notes = dict.fromkeys(note for row in rows for note in row.notes)
    parts = [f"{len(rows)} GPUs" if len(rows) > 1 else "", _active(rows), _state(rows), _throttled(rows), *notes]
    return "; ".join(part for part in parts if part)


def _active(rows: Sequence[Used]) -> str:
    told = [
        f"{label} {plain_percent(mean)}" for key, label in _ACTIVE.items() if (mean := _mean(rows, key)) is not None
    ]
    busy = _mean(rows, "gpu_utilization")
    told += [f"a kernel ran {plain_percent(busy)} of the time"] if busy is not None else []
    return ", ".join(told) or "; ".join(dict.fromkeys(reason for row in rows for reason in row.reasons))


def _state(rows: Sequence[Used]) -> str:
    told = []
    watts, clock = _mean(rows, "power_w"), _mean(rows, "sm_clock_mhz")
    if watts is not None:
        told.append(f"{significant(watts)} W (at most {significant(_most(rows, 'power_w'))})")
    if clock is not None:
        told.append(f"{clock:.0f} MHz")
    if any("temperature_c" in row.most for row in rows):
        told.append(f"at most {_most(rows, 'temperature_c'):.0f} °C")
    if any("memory_used_bytes" in row.most for row in rows):
        told.append(f"{with_unit(_most(rows, 'memory_used_bytes'), 'B')} used")
    return ", ".join(told)


def _throttled(rows: Sequence[Used]) -> str:
    shares: dict[str, float] = {}
    for row in rows:
        for reason, share in (row.throttled or {}).items():
            shares[reason] = max(share, shares.get(reason, 0.0))
    told = [f"{reason} {plain_percent(share)}" for reason, share in shares.items() if reason not in NOT_TOLD]
    return f"throttled: {', '.join(told)} of the time" if told else ""


def _mean(rows: Sequence[Used], key: str) -> float | None:
    known = [row.mean[key] for row in rows if key in row.mean]
    return fsum(known) / len(known) if known else None


def _most(rows: Sequence[Used], key: str) -> float:
    return max(row.most[key] for row in rows if key in row.most)


def _pooled(device: str, uses: Sequence[DeviceUse]) -> Used:
    gauges: dict[str, list[Spread]] = {}
    for use in uses:
        for key, spread in use.gauges.items():
            gauges.setdefault(key, []).append(spread)
    told = [use.throttle_reasons for use in uses if use.throttle_reasons is not None]
    names = dict.fromkeys(name for reasons in told for name in reasons)
    return Used(
        device=device,
        mean={key: fsum(means) / len(means) for key, each in gauges.items() if (means := _means(each))},
        most={key: max(known) for key, each in gauges.items() if (known := _known(each, "max"))},
        least={key: min(known) for key, each in gauges.items() if (known := _known(each, "min"))},
        throttled={name: fsum(each.get(name, 0.0) for each in told) / len(told) for name in names} if told else None,
        reasons=tuple(dict.fromkeys(each.reason for each in gauges.get("sm_active", []) if each.reason)),
        notes=tuple(dict.fromkeys(note for use in uses for note in use.notes)),
    )


def _means(spreads: Sequence[Spread]) -> list[float]:
    """Of those that did not end on the way."""
    return _known([spread for spread in spreads if spread.reason is None], "mean")


def _known(spreads: Sequence[Spread], edge: str) -> list[float]:
    return [value for spread in spreads if (value := getattr(spread, edge)) is not None]
