"""The table as people read it in Markdown and LaTeX: few columns, one unit each, ± and footnotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lem.model.measurement import MetricValue
from pytest_lem.model.metrics import METRICS
from pytest_lem.render.entries import Entry
from pytest_lem.render.notes import Notes
from pytest_lem.render.numbers import ABSENT, Scale, decimals_for, digits_for, scale_for, significant
from pytest_lem.render.table import chosen

WORDS = ("engine", "model", "precision", "load", "tokens", "device")
ENGINES = ("joules_per_token", "tokens_per_second", "ttft_ms", "tpot_ms", "power_w", "peak_memory_bytes")
SERVED = (
    "joules_per_good_request",
    "requests_per_second",
    "goodput",
    "ttft_p99_ms",
    "tpot_p99_ms",
    "slo_met",
)
WINDOWS = ("gpu_joules", "cpu_joules", "seconds")
LABELS = {
    "joules_per_token": "J/token",
    "joules_per_good_request": "J/good request",
    "tokens_per_second": "tok/s",
    "requests_per_second": "req/s",
    "ttft_ms": "TTFT",
    "tpot_ms": "TPOT",
    "ttft_p99_ms": "TTFT p99",
    "tpot_p99_ms": "TPOT p99",
    "slo_met": "service level",
    "power_w": "power",
    "peak_memory_bytes": "memory",
    "gpu_joules": "GPU joules",
    "cpu_joules": "CPU joules",
    "seconds": "time",
}
_SHARES = "1"


@dataclass(frozen=True)
class Head:
    """A column's label and unit; words stand on the left."""

    label: str
    unit: str = ""
    left: bool = False


@dataclass(frozen=True)
class Name:
    """What a row is called, and the footnotes on all of it."""

    text: str
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Number:
    """A number in its column's unit: `half` of its interval's width, a `guess` where it is estimated, its footnote."""

    shown: str
    half: str = ""
    guess: bool = False
    mark: str = ""


Words = str | Name | Number


@dataclass(frozen=True)
class Brief:
    """A table before it is written: `same` are the words that all rows share."""

    heads: tuple[Head, ...]
    rows: tuple[tuple[Words, ...], ...]
    same: tuple[str, ...]
    legend: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]


def brief(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> Brief:
    """The table of `entries`, at least one, with these metrics, or with those that tell most of them.

    Raises UsageError for a metric that nobody knows.
    """
    keys = chosen(entries, metrics) if metrics else _telling(entries)
    varied = [word for word in WORDS if len({entry.told.get(word) for entry in entries}) > 1]
    alike = [entries[0].told.get(word) for word in WORDS if word not in varied]
    plain = [word for word in ("run", "tool") if len({entry.told[word] for entry in entries}) > 1]
    judged = ["verdict"] if any(entry.told.get("verdict") for entry in entries) else []
    told = [*plain, *varied]
    scales = {key: scale_for(_values(entries, key), _unit(entries, key)) for key in keys}
    notes = Notes()
    rows: list[tuple[Words, ...]] = []
    for entry in entries:
        words = [str(entry.told.get(word) or ABSENT) for word in told]
        numbers = [_cell(entry, key, scale, notes) for key, scale in scales.items()]
        last = [str(entry.told.get(word) or ABSENT) for word in judged]
        name = Name(entry.label, tuple(notes.ref(said) for said in entry.says))
        rows.append((name, *words, *numbers, *last))
    heads = [Head("configuration", left=True), *(Head(word, left=True) for word in told)]
    heads += [Head(LABELS.get(key, key), _shown_unit(key, scale)) for key, scale in scales.items()]
    heads += [Head(word, left=True) for word in judged]
    same = tuple(str(word) for word in alike if word) if len(entries) > 1 else ()
    return Brief(tuple(heads), tuple(rows), same, tuple(_legend(entries, keys)), tuple(notes.lines()))


def _telling(entries: Sequence[Entry]) -> list[str]:
    """What tells most of these configurations: of traffic more than of batches, of windows the whole."""
    keys = list(ENGINES)
    if any("slo_met" in entry.metrics or str(entry.told.get("load") or "batch")[:5] != "batch" for entry in entries):
        keys[1:1] = SERVED[:3]
        keys += SERVED[3:]
    whole = ("joules_per_token", "tokens_per_second")
    if any(all(_value(entry, key) is None for key in whole) for entry in entries):
        keys += WINDOWS
    known = [key for key in keys if _values(entries, key)]
    return known or ["joules_per_token"]


def _cell(entry: Entry, key: str, scale: Scale, notes: Notes) -> Words:
    found = entry.metrics.get(key)
    if found is None or found.value is None:
        reason = (found.reason or "no reason was recorded") if found else entry.absent
        return Number(ABSENT, mark=notes.ref(reason))
    if METRICS.get(key) and METRICS[key].unit == _SHARES:
        shown = ("met" if found.value else "missed") if key == "slo_met" else f"{100 * found.value:.4g} %"
        return Number(shown, guess=found.source == "estimated")
    value = found.value * scale.factor
    digits = digits_for(found.value, found.low, found.high)
    shown = significant(value, digits)
    return Number(shown, _half(found, scale, shown, digits), found.source == "estimated")


def _half(found: MetricValue, scale: Scale, shown: str, digits: int) -> str:
    """Half of the interval's width with the digits of its value, or with two of its own where these were all 0."""
    if found.low is None or found.high is None or found.value is None:
        return ""
    half = (found.high - found.low) / 2 * scale.factor
    if "e" in shown:
        return significant(half, 2)
    places = decimals_for(found.value * scale.factor, digits)
    return significant(half, 2) if half < 10**-places else f"{half:.{places}f}"


def _value(entry: Entry, key: str) -> float | None:
    found = entry.metrics.get(key)
    return found.value if found else None


def _values(entries: Sequence[Entry], key: str) -> list[float]:
    return [value for entry in entries if (value := _value(entry, key)) is not None]


def _unit(entries: Sequence[Entry], key: str) -> str:
    if key in METRICS:
        return METRICS[key].unit
    return next((entry.metrics[key].unit for entry in entries if key in entry.metrics), "")


def _shown_unit(key: str, scale: Scale) -> str:
    """The unit, without what the label says already."""
    if scale.unit == _SHARES:
        return ""
    joules, slash, _ = scale.unit.partition("/")
    label = LABELS.get(key, key)
    return joules if slash and joules.endswith("J") and "/" in label else "" if label == scale.unit else scale.unit


def _legend(entries: Sequence[Entry], keys: Sequence[str]) -> list[str]:
    """What ± covers, and what `~` says."""
    found = [
        value for entry in entries for key in keys if (value := entry.metrics.get(key)) and value.value is not None
    ]
    covers = sorted({value.covers for value in found if value.low is not None and value.covers})
    spans = [each for each in covers if each != "range"]
    says = [f"± is half of the 95 % interval, covering {' or '.join(spans)}"] if spans else []
    says += ["± of two or three rounds or cycles is half of their range"] if "range" in covers else []
    says += ["~ is estimated by a model, not measured"] if any(each.source == "estimated" for each in found) else []
    return says
