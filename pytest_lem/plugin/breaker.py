"""Engines that fail one after the other are not this experiment's fault: after a few, nothing more is tried."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_lem.model.errors import EngineError
from pytest_lem.plugin.state import NOT_RUN

_OF_THE_EXPERIMENT = ("usage", "memory")


@dataclass
class Breaker:
    """Counts engine failures in a row; open after `limit` of them."""

    limit: int = 3
    _row: list[str] = field(default_factory=list)

    def failed(self, error: EngineError) -> None:
        """An engine did not start, or died; a batch that does not fit, or a refused request, says nothing of others."""
        if error.kind not in _OF_THE_EXPERIMENT:
            self._row.append(str(error))

    def worked(self) -> None:
        """An engine measured: what failed before it was not the machine."""
        self._row.clear()

    @property
    def reason(self) -> str | None:
        """Why nothing more is measured, None while it is."""
        if len(self._row) < self.limit:
            return None
        times = "an engine failed" if self.limit == 1 else f"{self.limit} engines failed in a row"
        return f"{NOT_RUN}{times}, the last one: {self._row[-1]} (--lem-max-engine-failures)"
