"""A duel in tests: the fake engine as both sides, the fake meter's 100 W, short rounds, and who was started when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_meter
from engine_starts import is_gone, spec

from pytest_lem.device_joules import Context
from pytest_lem.duel.arena import fight
from pytest_lem.duel.corner import Ground, Terms
from pytest_lem.duel.record import DuelRecord
from pytest_lem.duel.sides import Contestant
from pytest_lem.engines.host import Engine
from pytest_lem.meters.registry import MeterSet
from pytest_lem.model.measurement import MeterRecord, Round
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec

WORKLOAD = WorkloadSpec(batch=2, prompt_tokens=4, output_tokens=5)
SHORT = ProtocolSpec(round_seconds=0.03, warmup_rounds=1, warmup_seconds=0, rounds=4, latency=False)
TOKEN_SECONDS = 0.002


class Ring:
    """Everything a duel needs, and what became of it: `engines` in the order of their starts, `rounds`, `kept`."""

    def __init__(self, folder: Path, metric: str = "joules_per_token", **terms: Any) -> None:
        self.folder = folder
        self.engines: list[Engine] = []
        self.rounds: list[tuple[str, str]] = []
        self.kept: list[DuelRecord] = []
        self.change: Callable[[EngineSpec], EngineSpec] = lambda asked: asked
        self.on_round: Callable[[], None] = lambda: None
        self.told = ""
        meter = fake_meter.FakeMeter()
        record = MeterRecord(name="fake", used=True, source="measured", devices=meter.devices())
        self.meters = MeterSet((record,), (meter,))
        table = METRICS[metric]
        defaults = {"test": "test_it", "workload": WORKLOAD, "protocol": SHORT, "threshold": 0.05}
        self.terms = Terms(**{**defaults, "metric": table, "direction": table.better, **terms})

    def fight(self, a: EngineSpec, b: EngineSpec, **keywords: Any) -> DuelRecord:
        ground = Ground(self.start, self.meters, Context("cpu", self.meters.records), self)
        sides = Contestant("the baseline", a), Contestant("the candidate", b)
        return fight(*sides, self.terms, ground, keep=self.kept.append, **keywords)

    def start(self, asked: EngineSpec) -> Engine:
        changed = self.change(asked)
        log = self.folder / f"engine-{len(self.engines)}.log"
        self.engines.append(Engine.start(changed, gpus=(), log_path=log))
        return self.engines[-1]

    def progress(self, text: str) -> None:
        self.told = text

    def round_done(self, phase: str, round_: Round) -> None:
        self.rounds.append((self.told.split()[1].rstrip(":"), phase))
        self.on_round()

    @property
    def running(self) -> list[Engine]:
        return [engine for engine in self.engines if not is_gone(engine.pid)]


def side(token_seconds: float = TOKEN_SECONDS, **options: Any) -> EngineSpec:
    """A fake engine that takes `token_seconds` for each of its tokens, at 100 W."""
    return spec(options={"token_seconds": token_seconds, **options})
