"""The handle to a running engine that a test holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytest_lem.engines.host import Engine
from pytest_lem.engines.protocol import PassResult
from pytest_lem.model.specs import EngineSpec, WorkloadSpec


@dataclass(frozen=True)
class Backend:
    """A running engine. `spec` is what was asked, with the device resolved, `cycle` which launch of it this is."""

    spec: EngineSpec
    engine: Engine
    cycle: int = 0

    @property
    def name(self) -> str:
        """The engine's name: `pytorch`."""
        return self.spec.backend

    @property
    def observed(self) -> dict[str, Any]:
        """What the engine really runs with, read from its live objects."""
        return self.engine.observed

    def run(self, workload: WorkloadSpec) -> PassResult:
        """Run the workload once, unmeasured: `.tokens`, `.token_ids`, `.texts`. Raises EngineError."""
        self.engine.prepare(workload)
        return self.engine.run(1)
