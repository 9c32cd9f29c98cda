"""What another tool measured, as far as it can stand beside our own. Frozen data, nothing computed here.

It is kept apart from runs: there are no raw rounds behind it, so it can be shown, and never be a baseline.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pytest_lem.model.frozen import Frozen
from pytest_lem.model.measurement import MetricValue


class ForeignRow(Frozen):
    """One configuration of another tool. Empty words are not told by its file.

    `metrics` are of our own table, where the tool's number means the same; `notes` say how each was come by, and what
    an energy counts.
    """

    name: str
    engine: str = ""
    model: str = ""
    precision: str = ""
    load: str = ""
    tokens: str = ""
    device: str = ""
    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Foreign(Frozen):
    """A file of another tool: which `tool`, in which `version` (empty: not told), and what its numbers mean.

    `when` is the time that the file tells, as it tells it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.foreign/1"] = Field(default="lem.foreign/1", alias="schema")
    tool: str
    version: str = ""
    file: str
    when: str = ""
    means: tuple[str, ...] = ()
    rows: tuple[ForeignRow, ...] = ()
