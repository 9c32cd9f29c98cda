"""What the page reads of a run: the fields of a report, wherever it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from pytest_lem.model.environment import Environment
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.phases import Phases
from pytest_lem.model.search import Search
from pytest_lem.model.verdict import Verdict


class RunFacts(Protocol):
    """The pytest invocation that a report is of."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def started(self) -> datetime:
        """When it began, UTC."""

    @property
    def ended(self) -> datetime | None:
        """When it ended, UTC; None where it was killed."""

    @property
    def complete(self) -> bool:
        """Whether all that was planned has a result."""

    @property
    def quick(self) -> bool:
        """Whether it was a first look."""

    @property
    def options(self) -> Mapping[str, Any]:
        """How it was asked for."""


class Reported(Protocol):
    """A report: what `store.report.Report` has. `render` may not import the store."""

    @property
    def run(self) -> RunFacts:
        """The run."""

    @property
    def environment(self) -> Environment:
        """The host."""

    @property
    def measurements(self) -> Sequence[Measurement]:
        """What was measured."""

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """What was judged."""

    @property
    def searches(self) -> Sequence[Search]:
        """Which settings were looked for."""

    @property
    def phases(self) -> Sequence[Phases]:
        """Prefill and decode apart."""

    @property
    def missing(self) -> Sequence[str]:
        """What has no result, and why."""
