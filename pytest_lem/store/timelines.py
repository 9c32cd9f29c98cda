"""What GPUs told through each round, kept beside the samples: `telemetry/<slug>-<hash>-c<cycle>`.

While a cycle is measured a line a GPU and round is appended to a `.jsonl`, so that a killed run keeps every round that
was finished. At its end that becomes a `.parquet`; what cannot become one, and everything without pyarrow, stays as it
is: nothing that is measured depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from pytest_lem.model.errors import StoreError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.specs import Frozen
from pytest_lem.model.telemetry import GAUGES, Timeline
from pytest_lem.store.files import append_line, first_fault, to_json, unique_slug, write_atomic
from pytest_lem.store.raw import free_path
from pytest_lem.store.samples import Phase

if TYPE_CHECKING:
    import pyarrow

FOLDER = "telemetry"
LINES, PACKED = ".jsonl", ".parquet"
PARQUET = "; pip install 'pytest-lem[parquet]' to have them as Parquet"
SCHEMA: Literal["lem.timeline/1"] = "lem.timeline/1"
_TEXT = ("device", "phase", "throttle_reasons")
_MEANS = {
    "time_ns": ("ns", "the host's monotonic clock, as all stamps of a run"),
    "since_ns": ("ns", "where readings over time (GPM) of this row began"),
    "device": ("", "the GPU's UUID"),
    "phase": ("", "warmup or round"),
    "round": ("", "the round's index in its phase"),
    "throttle_reasons": ("", "why the clocks were lower than they could be, joined by commas; null: not asked"),
}


class TimelineLine(Frozen):
    """One GPU through one round of one cycle; each list has a place a moment."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.timeline/1"] = Field(default=SCHEMA, alias="schema")
    measurement_id: str
    cycle: int
    phase: Phase
    round: int
    timeline: Timeline


def set_aside(run: Path, measurement_id: str, cycle: int) -> None:
    """Before a cycle is measured: keep apart what an attempt that was killed left of it. Raises StoreError."""
    path = _lines_of(run, measurement_id, cycle)
    with suppress(StoreError):  # the end of the run tries again, and says why
        _pack(path)
    try:
        if path.exists():
            path.rename(free_path(path.parent, path.stem, LINES))
    except OSError as error:
        raise StoreError(f"cannot rename {path}: {error.strerror}") from error


def append(run: Path, lines: Iterable[TimelineLine]) -> None:
    """Write down what was told in a round. Raises StoreError that names the path."""
    for line in lines:
        path = _lines_of(run, line.measurement_id, line.cycle)
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {path.parent}: {error.strerror}") from error
        append_line(path, to_json(line))


def pack(run: Path, measurement: Measurement) -> None:
    """Make Parquet of what was written for a measurement that has ended, where pyarrow is installed.

    What cannot be made Parquet now is left for `pack_left`. An earlier file of the same name stays, and the new one is
    numbered.
    """
    for cycle in measurement.cycles:
        with suppress(StoreError):
            _pack(_lines_of(run, measurement.id, cycle.index))


def pack_left(run: Path) -> None:
    """The same at the end of a run for all that is left. Raises StoreError that says of each file why it stays."""
    faults = []
    for path in sorted((run / FOLDER).glob(f"*{LINES}")):
        try:
            _pack(path)
        except StoreError as error:
            faults.append(str(error))
    if faults:
        raise StoreError(f"timelines stay as JSON lines: {'; '.join(faults)}")


def kept(run: Path) -> str | None:
    """Where the timelines of a run are, in words; None where there are none."""
    folder = run / FOLDER
    if any(folder.glob(f"*{LINES}")):
        install = find_spec("pyarrow") is None
        return f"{folder} (JSON lines{PARQUET if install else ''})"
    return str(folder) if any(folder.glob(f"*{PACKED}")) else None


def read_lines(path: Path) -> list[TimelineLine]:
    """The lines of a `.jsonl`; one that a crash cut short at the end is left out. Raises StoreError."""
    try:
        rows = path.read_bytes().splitlines()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(TimelineLine.model_validate_json(row))
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":
                continue
            raise StoreError(f"{path} line {number}: {first_fault(error)}") from error
    return found


def _lines_of(run: Path, measurement_id: str, cycle: int) -> Path:
    return run / FOLDER / f"{unique_slug(measurement_id)}-c{cycle}{LINES}"


def _pack(path: Path) -> None:
    """Make the lines Parquet, if there are any and pyarrow is installed. Raises StoreError; they stay then."""
    if not path.exists() or find_spec("pyarrow") is None:
        return
    lines = read_lines(path)
    try:
        table = as_parquet(lines)
    except Exception as error:  # pyarrow has errors of its own, and an installation of it may be broken
        raise StoreError(f"{path}: pyarrow makes no Parquet of it ({type(error).__name__}: {error})") from error
    write_atomic(free_path(path.parent, path.stem, PACKED), table)
    path.unlink()


def as_parquet(lines: Sequence[TimelineLine]) -> bytes:
    """One table; a column's unit and meaning are metadata of its field, the measurement's id of the whole."""
    import pyarrow
    from pyarrow import parquet

    first = lines[0] if lines else None
    about = {"lem": SCHEMA} | ({"measurement_id": first.measurement_id, "cycle": str(first.cycle)} if first else {})
    fields = _fields()
    columns = [
        pyarrow.array(chain.from_iterable(_column(field.name, line) for line in lines), type=field.type)
        for field in fields
    ]
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_arrays(columns, schema=pyarrow.schema(fields, metadata=about)), sink)
    return bytes(sink.getvalue())


def _fields() -> list[pyarrow.Field]:
    import pyarrow

    def field(name: str, kind: Any, unit: str, means: str) -> pyarrow.Field:
        return pyarrow.field(name, kind, metadata={"means": means} | ({"unit": unit} if unit else {}))

    numbers = [field(gauge.key, pyarrow.float64(), gauge.unit, gauge.definition) for gauge in GAUGES]
    kinds = {name: pyarrow.string() if name in _TEXT else pyarrow.int64() for name in _MEANS}
    own = {name: field(name, kinds[name], *told) for name, told in _MEANS.items()}
    return [own.pop("time_ns"), own.pop("device"), own.pop("phase"), own.pop("round"), *numbers, *own.values()]


def _column(name: str, line: TimelineLine) -> Iterator[Any]:
    told, count = line.timeline, len(line.timeline.time_ns)
    alike = {"device": told.device, "phase": line.phase, "round": line.round}
    if name in alike:
        return iter([alike[name]] * count)
    lists: dict[str, Sequence[Any]] = {
        "time_ns": told.time_ns,
        "since_ns": told.since_ns,
        "throttle_reasons": told.throttle_reasons,
        **told.values,
    }
    return iter(lists.get(name, [None] * count))
