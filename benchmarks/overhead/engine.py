"""Metering beside an engine at work: the same pairs of windows, the work being passes of a workload."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.graphwork.board import Board
from benchmarks.graphwork.results import Results, versions
from benchmarks.graphwork.work import MARGIN, Stamps
from benchmarks.overhead.gpu import measure_pairs
from pytest_lem.engines import registry
from pytest_lem.engines.host import Engine
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

WARM_UP = 5


class EngineWork:
    """Passes of a workload as work that is repeated."""

    def __init__(self, engine: Engine, workload: WorkloadSpec) -> None:
        self._engine = engine
        engine.prepare(workload)
        for _ in range(WARM_UP):
            self._pass_seconds = engine.run(1).seconds
        observed = engine.observed
        self.facts: dict[str, Any] = {
            "backend": engine.spec.backend,
            "model": engine.spec.model,
            "precision": observed["precision"],
            "versions": observed["versions"],
            "workload": workload.model_dump(exclude={"prompts"}),
            "replay_seconds": self._pass_seconds,
        }

    @property
    def pids(self) -> tuple[int, ...]:
        """The engine's processes."""
        return tuple(self._engine.pids())

    def replays(self, seconds: float) -> int:
        """How many passes last `seconds` and a little more."""
        return max(1, ceil(MARGIN * seconds / self._pass_seconds))

    def run(self, replays: int, start_ns: int = 0) -> Stamps:
        """Run the passes from `start_ns` on."""
        result = self._engine.run(replays, start_ns=start_ns or None)
        return Stamps(result.start_ns, result.end_ns, replays)


def measure(results: Results, asked: EngineSpec, workload: WorkloadSpec, seconds: float, pairs: int) -> None:
    """Fill `results` with `pairs` pairs of windows of an engine's passes."""
    board = Board()
    results.data.update(board=board.facts(), packages=versions("torch", "nvidia-ml-py"))
    log = Path(results.path).with_suffix(".log")
    engine = Engine.start(registry.validate(asked), gpus=[board.uuid], log_path=log, on_progress=results.log)
    try:
        measure_pairs(results, board, EngineWork(engine, workload), seconds, pairs)
    finally:
        engine.stop()
