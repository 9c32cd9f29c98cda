"""A trace to be replayed: when each request arrived, how long it and its answer were."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from pytest_lem.model.errors import UsageError
from pytest_lem.model.frozen import Frozen
from pytest_lem.workloads.records import read_rows


class Arrival(Frozen):
    """A request of a trace: seconds after its beginning, tokens of the prompt (or its text), tokens of the answer."""

    arrival_s: float = Field(ge=0)
    prompt_tokens: int | None = Field(default=None, ge=1)
    output_tokens: int = Field(ge=1)
    prompt: str | None = None


def read_trace(name: str, most: int | None = None) -> tuple[Arrival, ...]:
    """The first `most` arrivals of a JSONL, CSV or Parquet file; other columns are left alone.

    Raises UsageError that names the row.
    """
    path = Path(name)
    place = "traffic: trace"
    found: list[Arrival] = []
    for number, row in enumerate(read_rows(path, place)[:most], 1):
        try:
            arrival = Arrival.model_validate({name: row[name] for name in Arrival.model_fields if name in row})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise UsageError(f"{place}: {path.name}, row {number}: {field}: {first['msg']}") from None
        if arrival.prompt is None and arrival.prompt_tokens is None:
            raise UsageError(f"{place}: {path.name}, row {number}: prompt_tokens: give a number, or a prompt")
        if found and arrival.arrival_s < found[-1].arrival_s:
            raise UsageError(
                f"{place}: {path.name}, row {number}: arrival_s {arrival.arrival_s:g} comes after "
                f"{found[-1].arrival_s:g}; sort the trace by arrival_s"
            )
        found.append(arrival)
    return tuple(found)
