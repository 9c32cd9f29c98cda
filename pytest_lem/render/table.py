"""One flat table of what was measured, from which every export is written: a row a configuration.

Columns of `ABOUT` come first, then eight of each metric, named after it: the value, `_low` and `_high` of its 95 %
interval, `_unit`, `_n` (rounds, cycles or requests behind it), `_source` (measured or estimated), `_covers` (what the
interval speaks for), and `_reason`, which says why a value is absent. What is absent is null, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from pytest_lem.model.errors import UsageError
from pytest_lem.model.measurement import MetricValue
from pytest_lem.model.metrics import METRICS
from pytest_lem.render.entries import Cell, Entry

ALL = "all"
USUAL = (
    "joules_per_token",
    "joules_per_total_token",
    "joules_per_request",
    "joules_per_good_request",
    "tokens_per_second",
    "requests_per_second",
    "goodput",
    "good_share",
    "slo_met",
    "ttft_ms",
    "ttft_p99_ms",
    "tpot_ms",
    "tpot_p99_ms",
    "seconds",
    "idle_share",
    "power_w",
    "gpu_joules",
    "cpu_joules",
    "ram_joules",
    "system_joules",
    "co2_grams",
    "peak_memory_bytes",
)
"""The metrics of an export that was asked for none in particular."""

Kind = Literal["text", "number", "count", "flag"]


@dataclass(frozen=True)
class Column:
    """A column: what its cells are, in which `unit`, and what they mean."""

    name: str
    kind: Kind
    definition: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells that stand under `columns`; an absent cell is None."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


ABOUT = (
    Column("tool", "text", "who measured: pytest-lem, or the tool whose file was imported"),
    Column("tool_version", "text", "its version"),
    Column("run", "text", "the run's id, or the imported file's name"),
    Column("started", "text", "when the run began, ISO 8601"),
    Column("label", "text", "the configuration's short name"),
    Column("test", "text", "the test's id"),
    Column("name", "text", "the measurement's name within its test"),
    Column("engine", "text", "the engine that was asked for"),
    Column("model", "text", "the model"),
    Column("precision", "text", "its number format"),
    Column("load", "text", "the batch, or how requests arrived"),
    Column("tokens", "text", "tokens of a prompt + new ones"),
    Column("device", "text", "CPU, or how many GPUs it ran on"),
    Column("host", "text", "the host"),
    Column("board", "text", "its GPUs, or its processor where it has none"),
    Column("driver", "text", "its GPUs' driver"),
    Column("cycles", "count", "launches of the engine"),
    Column("rounds", "count", "measured rounds of all cycles"),
    Column("valid_rounds", "count", "those that count"),
    Column("steady", "flag", "whether every warm-up ended before its cap"),
    Column("quick", "flag", "whether it was a first look, whose joules are not gateable"),
    Column("shared_host", "flag", "whether other lanes measured on the host at the same time"),
    Column("meters", "text", "the meters that were read"),
    Column("verdict", "text", "the worst of its budgets and gates"),
    Column("notes", "text", "what a reader has to know; of another tool, what its numbers mean"),
)
_PARTS: tuple[tuple[str, Kind, str], ...] = (
    ("low", "number", "low end of its 95 % interval"),
    ("high", "number", "high end of its 95 % interval"),
    ("unit", "text", "its unit"),
    ("n", "count", "how many rounds, cycles or requests it rests on"),
    ("source", "text", "measured or estimated"),
    ("covers", "text", "what the interval speaks for"),
    ("reason", "text", "why it is absent"),
)


def table(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> Table:
    """The table of `entries` with these metrics: the usual ones and the users' own where none is named.

    Raises UsageError for a metric that nobody knows.
    """
    keys = chosen(entries, metrics)
    columns = [*ABOUT, *(column for key in keys for column in _columns(key, _unit(key, entries)))]
    rows = (
        (*(entry.told.get(column.name) for column in ABOUT), *(cell for key in keys for cell in _cells(entry, key)))
        for entry in entries
    )
    return Table(tuple(columns), tuple(rows))


def chosen(entries: Sequence[Entry], metrics: Sequence[str]) -> list[str]:
    """The keys that `metrics` names, each once."""
    own = dict.fromkeys(key for entry in entries for key in entry.metrics if key not in METRICS)
    if not metrics:
        return [*USUAL, *own]
    known = [*METRICS, *own]
    for key in metrics:
        if key != ALL and key not in known:
            near = get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"--metric={key}: unknown metric; the nearest known one is {near!r}, {ALL!r} is each")
    return known if ALL in metrics else list(dict.fromkeys(metrics))


def _columns(key: str, unit: str) -> list[Column]:
    metric = METRICS.get(key)
    told = metric.definition if metric else "recorded by the test itself"
    value = Column(key, "number", told, unit)
    parts = [Column(f"{key}_{part}", kind, means, unit if kind == "number" else "") for part, kind, means in _PARTS]
    return [value, *parts]


def _unit(key: str, entries: Sequence[Entry]) -> str:
    """A metric's unit; empty where rows have several, as their column of units tells."""
    if key in METRICS:
        return METRICS[key].unit
    units = {entry.metrics[key].unit for entry in entries if key in entry.metrics}
    return units.pop() if len(units) == 1 else ""


def _cells(entry: Entry, key: str) -> tuple[Cell, ...]:
    unit = METRICS[key].unit if key in METRICS else ""
    found = entry.metrics.get(key) or MetricValue(value=None, unit=unit, reason=entry.absent)
    count = found.n if found.value is not None and found.n else None
    reason = None if found.value is not None else found.reason or "no reason was recorded"
    source = found.source if found.value is not None else None
    return (found.value, found.low, found.high, found.unit or None, count, source, found.covers, reason)
