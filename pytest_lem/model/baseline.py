"""A run that was accepted: its launches, round by round, with what they were measured on."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import ConfigDict, Field, FiniteFloat, model_validator

from pytest_lem.model.specs import Frozen

Values = tuple[FiniteFloat, ...]


class BaselineMetric(Frozen):
    """One metric of one run: for each launch the values of its rounds, and those of the warm-up before them.

    Values are in the metric's `unit`, in the order in which they were measured. `warmup` is as long as `launches`.
    """

    unit: str
    better: Literal["lower", "higher"]
    launches: tuple[Values, ...]
    warmup: tuple[Values, ...]

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.warmup) != len(self.launches):
            raise ValueError(f"{len(self.launches)} launches have {len(self.warmup)} warm-ups")
        return self


class BaselineEntry(Frozen):
    """One measurement of one experiment (`test`, without its cycle), told apart by its `name` from others of it."""

    test: str
    name: str = ""
    fingerprint: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, BaselineMetric] = Field(default_factory=dict)


class BaselineRun(Frozen):
    """One accepted run, one file. `saved` is when it was accepted (UTC), `commit` what was checked out then.

    Runs of one `epoch` are compared with each other; accepting a change opens the next one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.baseline/1"] = Field(default="lem.baseline/1", alias="schema")
    id: str
    saved: datetime
    commit: str | None = None
    epoch: int = Field(default=1, ge=1)
    entries: tuple[BaselineEntry, ...] = ()
