"""One cycle: calibrate a round to its length, warm up, measure rounds until they are precise, keep every one.

Under traffic a round is one pass of it: its length is the traffic's own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal, Protocol

from pytest_lem.aggregate import cost
from pytest_lem.arithmetic import arithmetic_of
from pytest_lem.device_joules import Context, whole_pass
from pytest_lem.engines.host import Engine
from pytest_lem.engines.protocol import PassResult
from pytest_lem.flops.chain import Asked
from pytest_lem.meters.registry import MeterSet
from pytest_lem.meters.telemetry import Telemetry
from pytest_lem.model.arithmetic import Arithmetic
from pytest_lem.model.cycle import Cycle, DeviceMemory, Gap
from pytest_lem.model.latency import LatencyPass
from pytest_lem.model.round import Round
from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec
from pytest_lem.model.telemetry import Timeline
from pytest_lem.served import refusal, served_round, submission_notes, work_notes
from pytest_lem.stats.stopping import stop_reason

Phase = Literal["warmup", "round"]
MARGIN = 1.03  # rounds aim a little past their length, so that a faster one is not too short to judge
LATENCY_SHARE = 1 / 8  # hooked passes beside a round, as a share of its length
LATENCY_MOST = 1 / 3  # where one pass is a larger share of a round, only every second or third round gets one
FIRST_RUN = 4  # a first run may be this many times as slow as the next
SPARE_ROUNDS = 4  # invalid rounds beyond as many as there are valid ones end the cycle


class Listener(Protocol):
    """Told by the runner, from pytest's process, between rounds; must not take long."""

    def progress(self, text: str) -> None:
        """What is being done now, a few words."""
        ...

    def round_done(self, phase: Phase, round_: Round, timelines: Sequence[Timeline] = ()) -> None:
        """A round has ended: write it down before the next begins. `timelines` are what its GPUs told meanwhile."""
        ...


@dataclass
class CycleLog:
    """A cycle while it is measured; `cycle()` freezes what there is so far, also after a failure."""

    engine: Engine
    index: int = 0
    warmup_rounds: list[Round] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    steady: bool | None = None
    stopped: str = "interrupted"
    memory: dict[str, DeviceMemory] = field(default_factory=dict)
    gap: Gap | None = None
    lanes: int = 1
    work: dict[str, Any] = field(default_factory=dict)
    arithmetic: Arithmetic | None = None
    notes: tuple[str, ...] = ()
    began: float = field(default_factory=time.monotonic)

    def cycle(self) -> Cycle:
        """The frozen record."""
        return Cycle(
            index=self.index,
            launch=f"{self.engine.pid}",
            gpus=tuple(self.engine.gpus),
            load_seconds=self.engine.load_seconds,
            build_seconds=self.engine.build_seconds,
            build_devices=self.engine.build_devices,
            warmup_rounds=tuple(self.warmup_rounds),
            steady=self.steady,
            rounds=tuple(self.rounds),
            memory=tuple(self.memory.values()),
            stopped=self.stopped,
            gap=self.gap,
            seconds=time.monotonic() - self.began,
            lanes=self.lanes,
            work=self.work,
            arithmetic=self.arithmetic,
            notes=self.notes,
        )

    def remember_peak(self, memory: tuple[DeviceMemory, ...]) -> None:
        """Keep the highest peak of each device."""
        for now in memory:
            before = self.memory.get(now.device, now)
            self.memory[now.device] = DeviceMemory(
                device=now.device,
                allocated_bytes=_most(before.allocated_bytes, now.allocated_bytes),
                reserved_bytes=_most(before.reserved_bytes, now.reserved_bytes),
            )


@dataclass
class Bench:
    """An engine, its meters and a protocol at work on one cycle."""

    log: CycleLog
    meters: MeterSet
    workload: WorkloadSpec
    protocol: ProtocolSpec
    context: Context
    listener: Listener
    flops: Asked = "analytic"
    passes: int = 1
    began: float = field(default_factory=time.monotonic)
    telemetry: Telemetry = field(default_factory=Telemetry)

    def measure(self) -> None:
        """Run the protocol; the log holds what was measured, whatever happens. Raises EngineError and MeterError."""
        self._make_ready()
        self._rounds()

    def _make_ready(self) -> None:
        """All that comes before the first round."""
        self.listener.progress("prepare")
        engine = self.log.engine
        engine.prepare(self.workload)
        self.log.work = work_notes(engine.spec, engine.work)
        self.log.notes = (*engine.observed.get("notes", ()), *submission_notes(engine.spec, engine.work))
        self.log.arithmetic = arithmetic_of(engine.spec, engine.observed, engine.work, self.flops)
        if self.workload.arriving is None:
            self._calibrate()
        self._warm_up()

    def _elapsed(self) -> float:
        return time.monotonic() - self.began

    def _calibrate(self) -> None:
        self.listener.progress("calibrate")
        first = self.log.engine.run(1)
        # The first run of a shape allocates and compiles: it says nothing of the next, unless it fills a round anyway.
        self._aim(first if first.seconds > FIRST_RUN * self.protocol.round_seconds else self.log.engine.run(1), 1)

    def _aim(self, result: PassResult, passes: int) -> None:
        seconds = result.seconds / passes
        self.passes = max(1, ceil(self.protocol.round_seconds * MARGIN / max(seconds, 1e-9)))

    def _warm_up(self) -> None:
        began, cap = self._elapsed(), self._warmup_cap()
        rounds = self.log.warmup_rounds
        self.log.steady = True
        while self._cold(rounds, self._elapsed() - began):
            if rounds and self._elapsed() - began >= cap:
                self.log.steady = False
                break
            self.listener.progress(f"warm-up {len(rounds) + 1}")
            if self.workload.arriving is not None:
                # Every request's times would be kept for nothing: warm-up is judged by its joules and rates.
                round_ = self._traffic(len(rounds)).model_copy(update={"latency": None})
            else:
                result, round_ = self._window(len(rounds))
                self._aim(result, self.passes)
            rounds.append(round_)
            self._done("warmup", round_)

    def _cold(self, rounds: Sequence[Round], seconds: float) -> bool:
        asked, answered = self.protocol, sum(whole_pass(round_).requests for round_ in rounds)
        enough = sum(map(self._worth, rounds)) >= asked.warmup_rounds and answered >= asked.warmup_prompts
        # Traffic is not calibrated, so that its first pass is the first run of its shapes: never a measured one.
        unknown = self.workload.arriving is not None and not rounds
        return not enough or unknown or seconds < asked.warmup_seconds

    def _worth(self, round_: Round) -> int:
        """How many rounds of warm-up this one is: a pass of traffic cannot be cut, and may be as long as many."""
        if round_.served is None:
            return 1
        return max(1, int(round_.served.seconds / self.protocol.round_seconds))

    def _warmup_cap(self) -> float:
        half = float("inf") if self.protocol.max_seconds is None else self.protocol.max_seconds / 2
        return min(self.protocol.warmup_cap_seconds, half)

    def _rounds(self) -> None:
        costs: list[float] = []
        while True:
            most = self.protocol.rounds or self.protocol.max_rounds
            self.listener.progress(f"round {len(self.log.rounds) + 1} of {'' if self.protocol.rounds else '≤ '}{most}")
            round_ = self._measured(len(self.log.rounds))
            self.log.rounds.append(round_)
            self._done("round", round_)
            if round_.valid:
                costs.append(cost(round_, self.context))
            why = self._enough(costs)
            if why:
                self.log.stopped = why
                return

    def _enough(self, costs: list[float]) -> str | None:
        invalid = len(self.log.rounds) - len(costs)
        if self.protocol.max_seconds is not None and self._elapsed() >= self.protocol.max_seconds:
            return "max-seconds"
        if invalid > len(costs) + SPARE_ROUNDS:
            return "invalid"
        if self.protocol.rounds is not None:
            return "rounds" if len(costs) >= self.protocol.rounds else None
        return stop_reason(
            costs,
            minimum=self.protocol.min_rounds,
            maximum=self.protocol.max_rounds,
            precision=self.protocol.precision,
        )

    def _measured(self, index: int) -> Round:
        if self.workload.arriving is not None:
            return self._traffic(index)
        _, round_ = self._window(index)
        if self.protocol.latency and index % ceil(1 / round_.passes / LATENCY_MOST) == 0:
            round_ = round_.model_copy(update={"latency": self._latency(round_)})
        return round_

    def _traffic(self, index: int) -> Round:
        """One pass of the traffic, with token times: what is steady is told by them, and they cost little."""
        engine, arriving = self.log.engine, self.workload.arriving
        start = self.meters.begin(index)
        with self.meters.watching(), self.telemetry.sampling(start):
            result = engine.run(1, start_ns=start, hooks=True)
        whole = self.meters.end(result.start_ns, result.end_ns)
        self.log.remember_peak(result.memory)
        trails = self.meters.trails(whole, result.start_ns, result.end_ns)
        ramp = arriving.ramp_seconds if arriving else 0.0
        round_ = served_round(index, result, engine.work, trails, whole, ramp_seconds=ramp)
        return round_.model_copy(update={"use": self.telemetry.use(round_.start_ns, round_.end_ns)})

    def _window(self, index: int) -> tuple[PassResult, Round]:
        start = self.meters.begin(index)
        with self.telemetry.sampling(start):
            result = self.log.engine.run(self.passes, start_ns=start)
        readings = self.meters.end(result.start_ns, result.end_ns)
        self.log.remember_peak(result.memory)
        refused = refusal(readings)
        round_ = Round(
            index=index,
            start_ns=result.start_ns,
            end_ns=result.end_ns,
            passes=self.passes,
            requests=result.requests,
            prompt_tokens=result.prompt_tokens,
            tokens=result.tokens,
            valid=refused is None,
            reason=refused,
            devices=readings,
            counters=result.counters,
            ranks=result.ranks,
            use=self.telemetry.use(result.start_ns, result.end_ns),
        )
        return result, round_

    def _done(self, phase: Phase, round_: Round) -> None:
        """Hand on the round, with what GPUs told: under traffic through the whole pass."""
        whole = round_.served or round_
        self.listener.round_done(phase, round_, self.telemetry.timelines(whole.start_ns, whole.end_ns))

    def _latency(self, round_: Round) -> LatencyPass:
        """Hooked passes beside the measured ones: hooks cost time, so no joules are taken here."""
        passes = max(1, round(LATENCY_SHARE * round_.passes))
        result = self.log.engine.run(passes, hooks=True)
        seconds = result.seconds / passes
        return LatencyPass(seconds=seconds, passes=passes, requests=result.request_times)


def _most(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(a, b)
