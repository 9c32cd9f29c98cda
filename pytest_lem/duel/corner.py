"""One side of a duel at work: its engine is launched, warmed up, asked for one round at a time, and ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from pytest_lem.device_joules import Context
from pytest_lem.engines.host import Engine
from pytest_lem.meters.registry import MeterSet
from pytest_lem.model.cycle import Cycle
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.metrics import Metric
from pytest_lem.model.round import Round
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec
from pytest_lem.model.telemetry import Timeline
from pytest_lem.round_values import round_value
from pytest_lem.runner import Bench, CycleLog, Listener, Phase
from pytest_lem.stats.verdict import Direction

GUESS = "it is estimated, and a model's guess can neither regress nor improve"


@dataclass(frozen=True)
class Terms:
    """What a duel is about: both sides do the same `workload` by the same `protocol`, and are compared by `metric`.

    `threshold` is the gate's, relative. `direction` is which way is better. `test` and `name` are the measurement's.
    """

    test: str
    metric: Metric
    workload: WorkloadSpec
    protocol: ProtocolSpec
    threshold: float
    direction: Direction
    name: str = ""


@dataclass(frozen=True)
class Ground:
    """Where it is fought: what starts an engine, the meters over its GPUs, and who is told.

    `start` is called in pytest's process, with both sides' engines running or not; whoever made the meters sees to it
    that the processes of every engine it returned count as its own. `freed` is called when no engine runs any more, and
    returns when their memory is free. `context` is as for a measurement; its device follows the engine. `lanes` counts
    the engines that may run on this host at the same time, beside those of the duel.
    """

    start: Callable[[EngineSpec], Engine]
    meters: MeterSet
    context: Context
    listener: Listener
    freed: Callable[[], object] = lambda: None
    lanes: int = 1


class Bout(Bench):
    """A bench that measures when it is asked to: its rounds alternate with another's."""

    def ready(self) -> None:
        """All that comes before the first round. Raises EngineError and MeterError."""
        self._make_ready()

    def round(self, *, hooked: bool) -> Round:
        """The next round; `hooked`: with a pass beside it that tells token times. Raises EngineError and MeterError."""
        self.listener.progress(f"launch {self.log.index + 1}, round {len(self.log.rounds) + 1}")
        if self.workload.arriving is not None:
            found = self._traffic(len(self.log.rounds))
        else:
            _, found = self._window(len(self.log.rounds))
            if hooked:
                found = found.model_copy(update={"latency": self._latency(found)})
        self.log.rounds.append(found)
        self._done("round", found)
        return found


@dataclass(frozen=True)
class _Called:
    """Tells the listener which side it hears of."""

    name: str
    listener: Listener

    def progress(self, text: str) -> None:
        """Pass it on with the side's name."""
        self.listener.progress(f"duel, {self.name}: {text}")

    def round_done(self, phase: Phase, round_: Round, timelines: Sequence[Timeline] = ()) -> None:
        """Pass it on."""
        self.listener.round_done(phase, round_, timelines)


@dataclass
class Corner:
    """The baseline's, or the candidate's. `cycles` are its launches that have ended, each with all of its rounds."""

    name: str
    spec: EngineSpec
    terms: Terms
    ground: Ground
    cycles: list[Cycle] = field(default_factory=list)
    observed: dict[str, Any] = field(default_factory=dict)
    _bout: Bout | None = None

    @property
    def alive(self) -> bool:
        """Whether its engine runs."""
        return self._bout is not None and self._bout.log.engine.alive

    @property
    def launches(self) -> tuple[Cycle, ...]:
        """All its launches, also the one that runs."""
        return (*self.cycles, *([self._bout.log.cycle()] if self._bout else []))

    def launch(self) -> None:
        """Start its engine. Raises EngineError."""
        listener = _Called(self.name, self.ground.listener)
        listener.progress(f"start {self.spec.backend} {self.spec.model} {self.spec.precision_id}")
        engine = self.ground.start(self.spec)
        log = CycleLog(engine, len(self.cycles), lanes=self.ground.lanes)
        context = replace(self.ground.context, device="cuda" if engine.gpus else "cpu")
        self._bout = Bout(log, self.ground.meters, self.terms.workload, self.terms.protocol, context, listener)
        self.observed = self.observed or engine.observed

    @property
    def bout(self) -> Bout:
        """What measures the launch that runs. Raises RuntimeError where none does."""
        if self._bout is None:
            raise RuntimeError(f"the {self.name}'s engine is not launched")
        return self._bout

    def cpu_seconds(self) -> float:
        """CPU time that its processes have taken."""
        total = 0.0
        for pid in self.bout.log.engine.pids():
            with suppress(psutil.Error):
                spent = psutil.Process(pid).cpu_times()
                total += spent.user + spent.system
        return total

    def value(self, round_: Round) -> float:
        """The metric over one round that counts. Raises Unavailable where there is no value to compare."""
        metric = self.terms.metric
        found = round_value(metric, round_, self.bout.context)
        if found.source == "estimated":
            raise Unavailable(metric.key, GUESS)
        if not found.value > 0:
            raise Unavailable(metric.key, f"a duel compares ratios, and {found.value:g} has none")
        return found.value

    def leave(self, stopped: str) -> None:
        """End its engine in peace, and keep what it did; `stopped` says why."""
        bout, self._bout = self._bout, None
        if bout is None:
            return
        bout.log.stopped = stopped
        self.cycles.append(bout.log.cycle())
        try:
            bout.log.engine.stop()
        except BaseException:
            bout.log.engine.kill()  # Ctrl-C while it was about to end
            raise

    def drop(self, stopped: str) -> None:
        """End its engine at once, whatever it is doing."""
        if self._bout is not None:
            self._bout.log.engine.kill()
            self.leave(stopped)
