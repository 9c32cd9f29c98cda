"""A duel in tests: the fake engine as both sides, a meter that knows what each costs, and who was started when.

No clock decides here: a side's joules per token are what `side` says, times a ripple that is the same in every run.
"""

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
from pytest_lem.engines.protocol import PassResult
from pytest_lem.meters.registry import MeterSet
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.reading import DeviceReading, MeterRecord
from pytest_lem.model.round import Round
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec

WORKLOAD = WorkloadSpec(batch=2, prompt_tokens=4, output_tokens=5)
SHORT = ProtocolSpec(round_seconds=0.005, warmup_rounds=1, warmup_seconds=0, rounds=4, latency=False)
JOULES_PER_TOKEN = 0.4
RIPPLE = (1.0, 1.012, 0.991, 1.004, 0.985, 1.009, 0.997)
TOKEN_SECONDS = 0.002


class KnownMeter(fake_meter.FakeMeter):
    """Reads what the work of the engine that ran last costs, whatever time it took."""

    def __init__(self) -> None:
        self.ran = 0
        self.spec: EngineSpec | None = None
        self.tokens = 0
        self.source = "measured"

    def end(self, start_ns: int, end_ns: int) -> tuple[DeviceReading, ...]:
        (reading,) = super().end(start_ns, end_ns)
        joules = price(self.spec) * self.tokens * RIPPLE[self.ran % len(RIPPLE)]
        self.ran += 1
        return (
            reading if reading.joules is None else reading.model_copy(update={"joules": joules, "source": self.source}),
        )


class Ring:
    """Everything a duel needs, and what became of it: `engines` in the order of their starts, `rounds`, `kept`."""

    def __init__(self, folder: Path, metric: str = "joules_per_token", **terms: Any) -> None:
        self.folder = folder
        self.engines: list[Engine] = []
        self.rounds: list[tuple[str, str]] = []
        self.kept: list[DuelRecord] = []
        self.change: Callable[[EngineSpec], EngineSpec] = lambda asked: asked
        self.on_round: Callable[[], None] = lambda: None
        self.counters: dict[str, float] = {}
        self.told = ""
        self.meter = meter = KnownMeter()
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
        engine = Engine.start(changed, gpus=(), log_path=log)
        run = engine.run

        def metered(*arguments: Any, **keywords: Any) -> PassResult:
            result = run(*arguments, **keywords).replace(counters=self.counters)
            self.meter.spec, self.meter.tokens = asked, result.tokens
            return result

        engine.run = metered
        self.engines.append(engine)
        return engine

    def progress(self, text: str) -> None:
        self.told = text

    def round_done(self, phase: str, round_: Round, timelines: Any = ()) -> None:
        self.rounds.append((self.told.split()[1].rstrip(":"), phase))
        self.on_round()

    @property
    def running(self) -> list[Engine]:
        return [engine for engine in self.engines if not is_gone(engine.pid)]


def side(dearer: int = 0, **options: Any) -> EngineSpec:
    """A fake engine whose tokens cost `dearer` percent more than 0.4 J; the meter knows it by its seed."""
    return spec(seed=dearer, options=options)


def price(asked: EngineSpec) -> float:
    """Joules per token."""
    return JOULES_PER_TOKEN * (1 + asked.seed / 100)
