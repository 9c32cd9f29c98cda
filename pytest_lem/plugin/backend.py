"""The handle to a running engine that a test holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_lem.engines.host import Engine
from pytest_lem.engines.protocol import PassResult
from pytest_lem.model.specs import EngineSpec, WorkloadSpec


class Backend:
    """An engine. `spec` is what was asked, with the device resolved, `cycle` which launch of it this is.

    It runs before the test begins, unless a continued run has measured this test already: then it is started when
    something needs it that was not measured.
    """

    def __init__(
        self, spec: EngineSpec, cycle: int, start: Callable[[], Engine], remembered: dict[str, Any] | None = None
    ) -> None:
        self.spec = spec
        self.cycle = cycle
        self._start = start
        self._remembered = remembered
        self._engine = None if remembered is not None else start()

    @property
    def engine(self) -> Engine:
        """The running engine. Raises EngineError where it has to be started and cannot be."""
        if self._engine is None:
            self._engine = self._start()
        return self._engine

    @property
    def name(self) -> str:
        """The engine's name: `pytorch`."""
        return self.spec.backend

    @property
    def observed(self) -> dict[str, Any]:
        """What the engine really runs with, read from its live objects."""
        if self._engine is None and self._remembered is not None:
            return self._remembered
        return self.engine.observed

    def run(self, workload: WorkloadSpec) -> PassResult:
        """Run the workload once, unmeasured: `.tokens`, `.token_ids`, `.texts`. Raises EngineError."""
        self.engine.prepare(workload)
        return self.engine.run(1)
