"""Which values a table shows, and each as the text of its cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor

from pytest_lem.model.cycle import Cycle
from pytest_lem.model.measurement import Measurement, MetricValue
from pytest_lem.model.metrics import METRICS
from pytest_lem.render.notes import Notes
from pytest_lem.render.numbers import ABSENT, Scale, bounds, digits_for, scale_for, significant, spread

_NOT_STEADY = "not steady: warm-up ended at its cap before the rounds had settled"
_CUT_SHORT = "it was cut short before its metrics were computed"
_NO_PART = "it was not part of this measurement"
_SHARES = ("slo_met", "idle_share")
_WORTH_TELLING = 0.01
_SHARED = "other lanes measured on this host at the same time: its joules are those of all of them"


@dataclass(frozen=True)
class Kind:
    """A table for one kind of measurement: `heads` are candidates for the column with the interval, best first.

    Columns that are `optional` are there where one of the measurements has a value for them.
    """

    title: str
    heads: tuple[str, ...]
    labels: dict[str, str]
    optional: tuple[str, ...] = ()


ENGINES = Kind(
    "measurement",
    ("joules_per_token", "tokens_per_second"),
    {
        "joules_per_token": "J/token",
        "tokens_per_second": "tok/s",
        "ttft_ms": "TTFT",
        "tpot_ms": "TPOT",
        "power_w": "W",
        "peak_memory_bytes": "memory",
    },
)
SERVED = Kind(
    "measurement of traffic",
    ("joules_per_token", "requests_per_second"),
    {
        "joules_per_token": "J/token",
        "joules_per_good_request": "J/good req",
        "tokens_per_second": "tok/s",
        "requests_per_second": "req/s",
        "goodput": "goodput",
        "ttft_p99_ms": "TTFT p99",
        "tpot_p99_ms": "TPOT p99",
        "slo_met": "SLO",
        "idle_share": "idle",
        "power_w": "W",
        "peak_memory_bytes": "memory",
    },
    optional=("joules_per_good_request", "goodput", "slo_met", "peak_memory_bytes"),
)
WINDOWS = Kind(
    "window",
    ("gpu_joules", "cpu_joules", "seconds"),
    {"gpu_joules": "GPU joules", "cpu_joules": "CPU joules", "seconds": "time", "power_w": "W"},
)


@dataclass(frozen=True)
class Head:
    """A column's two header lines: what, and in which unit."""

    label: str
    unit: str
    left: bool = False


@dataclass(frozen=True)
class Row:
    """One measurement: its name, remarks beside the name, and the text of each cell."""

    name: str
    tags: tuple[str, ...]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table before it is laid out."""

    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    headline: str
    covers: tuple[str, ...]


def grid(kind: Kind, measurements: Sequence[Measurement], names: Sequence[str], notes: Notes) -> Grid:
    """The table of `measurements`, its reasons collected in `notes`."""
    shown = {key for key in kind.labels if _values(measurements, key)}
    kind = replace(kind, labels={k: v for k, v in kind.labels.items() if k in shown or k not in kind.optional})
    headline = next((key for key in kind.heads if _values(measurements, key)), kind.heads[0])
    scales = {key: scale_for(_values(measurements, key), METRICS[key].unit) for key in kind.labels}
    all_quick = all(each.protocol.quick for each in measurements)
    rows = []
    for measurement, name in zip(measurements, names, strict=True):
        tags = tuple(_tags(measurement, notes, quick=measurement.protocol.quick and not all_quick))
        rows.append(Row(name, tags, tuple(_cells(measurement, scales, headline, notes))))
    found = {value.covers for each in measurements if (value := _interval(each, headline)) and value.covers}
    return Grid(tuple(_heads(kind, scales, headline, shown)), tuple(rows), kind.labels[headline], tuple(sorted(found)))


def _heads(kind: Kind, scales: dict[str, Scale], headline: str, shown: set[str]) -> list[Head]:
    """The headers; a column without a value in it (not `shown`) has no unit either."""
    heads = []
    for key, scale in scales.items():
        label, unit = kind.labels[key], _unit(key, scale)
        heads.append(Head(label, unit if key in shown and unit != label else ""))
        if key == headline:
            heads.append(Head("interval", unit if key in shown else ""))
    return [*heads, Head("rounds", "valid"), Head("source", "", left=True)]


def _cells(measurement: Measurement, scales: dict[str, Scale], headline: str, notes: Notes) -> list[str]:
    cells = []
    for key, scale in scales.items():
        found = measurement.metrics.get(key) or _lost(measurement, key)
        if key in _SHARES:
            cells.append(_share(measurement, key, found, notes))
        else:
            cells.append(_value(found, scale, notes, spread_too=key == headline))
        if key == headline:
            cells.append(_bounds(found, scale, notes))
    head = measurement.metrics.get(headline)
    source = head.source if head and head.value is not None else None
    return [*cells, _rounds(measurement.cycles), source or ABSENT]


def _unit(key: str, scale: Scale) -> str:
    """The unit under a column's label, without what the label says already."""
    if key in _SHARES:
        return ""
    joules, slash, _ = scale.unit.partition("/")
    return joules if slash and joules.endswith("J") else scale.unit.removesuffix("/tok")


def _share(measurement: Measurement, key: str, found: MetricValue, notes: Notes) -> str:
    """A share in percent; for the service level, whether it was met and by how many requests."""
    if found.value is None:
        return f"{ABSENT}{notes.ref(found.reason or 'no reason was recorded')}"
    if key != "slo_met":
        return _percent(found.value)
    good = measurement.metrics.get("good_share")
    said = "met" if found.value else "missed"
    return said if good is None or good.value is None else f"{said} {_percent(good.value)}"


def _percent(share: float) -> str:
    """`99.3 %`, rounded down: what is not all is never shown as 100 %."""
    return f"{floor(1000 * share + 1e-6) / 10:g} %"


def _lost(measurement: Measurement, key: str) -> MetricValue:
    """A metric that the measurement says nothing of, as an absent one."""
    return MetricValue(value=None, unit=METRICS[key].unit, reason=_NO_PART if measurement.metrics else _CUT_SHORT)


def _value(found: MetricValue, scale: Scale, notes: Notes, *, spread_too: bool) -> str:
    if found.value is None:
        return f"{ABSENT}{notes.ref(found.reason or 'no reason was recorded')}"
    mark = "~" if found.source == "estimated" else ""
    shown = found.value * scale.factor
    note = notes.ref(_SHARED) if found.shared else ""
    if not spread_too:
        return f"{mark}{significant(shown)}{note}"
    digits = digits_for(found.value, found.low, found.high)
    return f"{mark}{significant(shown, digits)}{note} {spread(found.value, found.low, found.high)}".rstrip()


def _bounds(found: MetricValue, scale: Scale, notes: Notes) -> str:
    if found.value is None:
        return ABSENT
    if found.low is None or found.high is None:
        count = "a single round has none" if found.n == 1 else f"{found.n} rounds gave none"
        return f"{ABSENT}{notes.ref(f'no interval: {found.reason or count}')}"
    return bounds(found.value * scale.factor, found.low * scale.factor, found.high * scale.factor)


def _rounds(cycles: Sequence[Cycle]) -> str:
    rounds = [each for cycle in cycles for each in cycle.rounds]
    return f"{sum(each.valid for each in rounds)}/{len(rounds)}"


_WAYS = {"TP": "tensor", "PP": "pipeline", "DP": "data"}


def _split(measurement: Measurement) -> list[str]:
    """`TP 2`, `DP 2`, `TP 2 × PP 2`: how processes shared the work; over how many GPUs one of them put its layers."""
    observed = measurement.engine.observed if measurement.engine else {}
    options = observed.get("options", {})
    sizes = {name: options.get(f"{way}_parallel_size") or 1 for name, way in _WAYS.items()}
    placed = len(observed.get("placement") or ())
    layers = [f"layers on {placed} GPUs, one at a time"] if placed > 1 else []
    split = [f"{name} {size}" for name, size in sizes.items() if size != 1]
    return [*([" × ".join(split)] if split else []), *layers]


def _tags(measurement: Measurement, notes: Notes, *, quick: bool) -> list[str]:
    """What a reader has to know about the row; `quick` where other rows are not."""
    tags = [*(["QUICK"] if quick else []), *_split(measurement)]
    invalid = [each for cycle in measurement.cycles for each in cycle.rounds if not each.valid]
    if invalid:
        marks = dict.fromkeys(notes.invalid_round(each.reason or "no reason was recorded") for each in invalid)
        tags.append(f"{len(invalid)} invalid{''.join(marks)}")
    uneven = measurement.metrics.get("gpu_imbalance")
    if uneven is not None and uneven.value is not None:
        gpus = max(len(cycle.gpus) for cycle in measurement.cycles)
        tags.append(f"{gpus} GPUs, {100 * uneven.value:.1f} % apart in joules")
    noted = [each for cycle in measurement.cycles for each in cycle.rounds if each.notes]
    if noted:
        marks = dict.fromkeys(notes.noted_round(note) for each in noted for note in each.notes)
        tags.append(f"{len(noted)} noted{''.join(marks)}")
    said = dict.fromkeys(note for cycle in measurement.cycles for note in (*cycle.notes, *_flops_notes(cycle)))
    if said:
        tags.append(f"note{''.join(map(notes.ref, said))}")
    padded = measurement.metrics.get("padding_share")
    if padded is not None and padded.value is not None and padded.value >= _WORTH_TELLING:
        tags.append(f"{_percent(padded.value)} of prompt tokens are padding")
    if any(cycle.steady is False for cycle in measurement.cycles):
        tags.append(f"not steady{notes.ref(_NOT_STEADY)}")
    stopped = dict.fromkeys(cycle.stopped for cycle in measurement.cycles if cycle.stopped in ("interrupted", "failed"))
    return [*tags, *stopped]


def _flops_notes(cycle: Cycle) -> list[str]:
    """What a method that was asked for FLOPs said, where another answered."""
    found = cycle.arithmetic
    if found is None or found.method is None:
        return []
    how = "2 × parameters" if found.method == "parameters" else found.method
    return [f"FLOPs are {how}: {note}" for note in found.notes]


def _interval(measurement: Measurement, key: str) -> MetricValue | None:
    found = measurement.metrics.get(key)
    return found if found and found.value is not None and found.low is not None else None


def _values(measurements: Sequence[Measurement], key: str) -> list[float]:
    found = [each.metrics[key].value for each in measurements if key in each.metrics]
    return [value for value in found if value is not None]
