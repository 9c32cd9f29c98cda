"""A trace to be replayed: when each request arrived, how long it and its answer were."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from pytest_lem.model.errors import UsageError
from pytest_lem.model.frozen import Frozen
from pytest_lem.workloads.records import read_rows


class Arrival(Frozen):
    """A request of a trace: seconds after its beginning, tokens of the prompt (or its text), tokens of the answer."""

    arrival_s: float = Field(ge=0, allow_inf_nan=False)
    prompt_tokens: int | None = Field(default=None, ge=1)
    output_tokens: int = Field(ge=1)
    prompt: str | None = Field(default=None, min_length=1)

    @property
    def least(self) -> int:
        """Its prompt's tokens as far as they are known: of a text there is one at least."""
        return 1 if self.prompt is not None else self.prompt_tokens or 1


def read_trace(name: str, most: int | None = None) -> tuple[Arrival, ...]:
    """The first `most` arrivals of a JSONL, CSV or Parquet file; other columns are left alone.

    Raises UsageError that names the row.
    """
    path = Path(name)
    place = "traffic: trace"
    found: list[Arrival] = []
    for row in read_rows(path, place)[:most]:
        where, cells = f"{place}: {row.where}", row.cells
        try:
            arrival = Arrival.model_validate({name: cells[name] for name in Arrival.model_fields if name in cells})
        except ValidationError as error:
            first = error.errors()[0]
            got = "" if first["type"] == "missing" else f" (got {first['input']!r:.80})"
            raise UsageError(f"{where}: {first['loc'][0]}: {first['msg']}{got}") from None
        if arrival.prompt is None and arrival.prompt_tokens is None:
            raise UsageError(f"{where}: prompt_tokens: give a number, or a prompt")
        if found and arrival.arrival_s < found[-1].arrival_s:
            raise UsageError(
                f"{where}: arrival_s {arrival.arrival_s:g} comes after "
                f"{found[-1].arrival_s:g}; sort the trace by arrival_s"
            )
        found.append(arrival)
    return tuple(found)
