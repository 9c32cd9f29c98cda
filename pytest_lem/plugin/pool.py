"""Owns the engine processes of a pytest process: one at a time, kept while the next test can use it."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_lem.engines.host import Engine
from pytest_lem.meters.nvml import memory_used
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import EngineSpec

SETTLE_SECONDS = 30.0
SETTLE_BYTES = 64 * 1024 * 1024


@dataclass
class EnginePool:
    """The engine that runs now, if any. `gpus` are the UUIDs that this process may use."""

    gpus: Sequence[str]
    logs: Path
    progress: Callable[[str], None]
    engine: Engine | None = None
    spec: EngineSpec | None = None
    _wanted: tuple[EngineSpec, int] | None = None
    _before: dict[str, int] = field(default_factory=dict)
    _started: int = 0

    def acquire(self, spec: EngineSpec, cycle: int) -> tuple[EngineSpec, Engine]:
        """The engine for `spec` and `cycle`, started unless it runs already. Raises EngineError."""
        if self.engine is not None and self.spec is not None and self._wanted == (spec, cycle) and self._usable():
            return self.spec, self.engine
        self.stop()
        resolved, gpus = self._place(spec)
        self._before = {uuid: memory_used(uuid) for uuid in gpus}
        self.progress(f"start {spec.backend} {spec.model} {spec.precision_id}")
        self.engine = Engine.start(resolved, gpus=gpus, log_path=self._log(resolved), on_progress=self.progress)
        self.spec, self._wanted = resolved, (spec, cycle)
        return resolved, self.engine

    def _usable(self) -> bool:
        return self.engine is not None and self.engine.alive and not self.engine.busy

    def keep_for(self, wanted: tuple[EngineSpec, int] | None) -> None:
        """Stop the engine unless the next item needs the same one."""
        if wanted != self._wanted:
            self.stop()

    def stop(self) -> None:
        """Stop the engine and wait until its GPU memory is really free."""
        engine, self.engine, self.spec, self._wanted = self.engine, None, None, None
        if engine is None:
            return
        engine.stop()
        self._settle()

    def discard(self) -> None:
        """Kill an engine that failed: the next test gets a fresh one."""
        if self.engine is not None:
            self.engine.kill()
        self.stop()

    def _place(self, spec: EngineSpec) -> tuple[EngineSpec, tuple[str, ...]]:
        device = spec.device if spec.device != "auto" else ("cuda" if self.gpus else "cpu")
        if device == "cpu":
            return spec.replace(device="cpu"), ()
        if len(self.gpus) < spec.gpus:
            visible = len(self.gpus)
            raise EngineError(
                f"{spec.backend} needs {spec.gpus} GPU(s), {visible} visible here (CUDA_VISIBLE_DEVICES counts); "
                "ask for fewer (gpus=), or for device='cpu'"
            )
        return spec.replace(device="cuda"), tuple(self.gpus[: spec.gpus])

    def _log(self, spec: EngineSpec) -> Path:
        self._started += 1
        name = re.sub(r"[^A-Za-z0-9.]+", "_", f"{self._started}-{spec.backend}-{spec.model}-{spec.precision_id}")
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"engine-{name[:100]}.log"

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            over = {uuid: memory_used(uuid) - before for uuid, before in self._before.items()}
            held = {uuid: more for uuid, more in over.items() if more > SETTLE_BYTES}
            if not held:
                return
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        told = ", ".join(f"{uuid}: {more / 2**20:.0f} MiB" for uuid, more in held.items())
        warnings.warn(pytest.PytestWarning(f"GPU memory still in use after an engine's end ({told})"), stacklevel=2)
