"""`--lem-duel`: a gate that a baseline cannot settle, or that has none, is fought out here and now."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from pytest_lem.duel.arena import fight
from pytest_lem.duel.corner import Ground, Terms
from pytest_lem.duel.environment import SETUP, Checkouts
from pytest_lem.duel.record import DuelRecord, write
from pytest_lem.duel.sides import GitSide, Side, SpecSide, contestants, parse, why_not
from pytest_lem.gate import Gate, gate_verdict, unavailable
from pytest_lem.launches import metric_of
from pytest_lem.model.errors import Unavailable, UsageError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.round import Round
from pytest_lem.model.telemetry import Timeline
from pytest_lem.model.verdict import Comparison, Verdict
from pytest_lem.plugin import options
from pytest_lem.plugin.distribution import lanes
from pytest_lem.plugin.session import LemSession
from pytest_lem.runner import Phase


def side_of(config: pytest.Config) -> Side | None:
    """What `--lem-duel` asks for. Raises UsageError for what cannot be."""
    asked = options.value(config, "duel")
    side = parse(asked) if asked else None
    if options.command(config, "duel_setup") and not isinstance(side, GitSide):
        raise UsageError(f"{SETUP}: builds the environment of --lem-duel=git:REF, and there is none")
    return side


class Duels:
    """The duels of one process. `close` takes the work trees of commits away."""

    def __init__(self, config: pytest.Config, session: LemSession, side: Side) -> None:
        self._config = config
        self._session = session
        self.side = side
        self._checkouts = Checkouts(
            project=config.rootpath,
            results=options.results(config),
            setup=options.value(config, "duel_setup"),
            log=session.recorder.run.directory / "logs" / "duel-setup.log",
            show=session.show,
        )

    @property
    def instead(self) -> bool:
        """Whether the duel is the question, and not only a closer look at what the baseline left open."""
        return isinstance(self.side, SpecSide)

    def verdict(self, gate: Gate, measurement: Measurement) -> Verdict:
        """Fight it out. Raises EngineError, MeterError, UsageError and StoreError."""
        label = self.side.words
        reason = why_not(self.side, measurement.engine.requested) if measurement.engine else None
        if reason:
            return unavailable(gate, measurement, label, reason)
        try:
            record = self._fought(gate, measurement)
        except Unavailable as error:
            return unavailable(gate, measurement, label, error.reason)
        return _told(gate, measurement, record)

    def close(self) -> None:
        """Take away what was checked out."""
        self._checkouts.close()

    def _fought(self, gate: Gate, measurement: Measurement) -> DuelRecord:
        if measurement.engine is None or measurement.workload is None:
            raise Unavailable(gate.key, "a window has no engine to launch")
        session, spec = self._session, measurement.engine.requested
        metric = metric_of(measurement, gate.key)
        there = self._checkouts.open(self.side) if isinstance(self.side, GitSide) else None
        a, b = contestants(
            self.side,
            spec,
            python=there.python if there else None,
            commit=there.commit if there else None,
            pythons=options.pythons(self._config),
        )
        with session.pool.several() as several:
            gpus = several.place(spec)
            meters = session.meters(gpus)
            terms = Terms(
                test=measurement.test,
                name=measurement.name,
                metric=metric,
                workload=measurement.workload,
                protocol=measurement.protocol,
                threshold=gate.threshold,
                direction=gate.direction or metric.better,
            )
            ground = Ground(
                start=several.start,
                meters=meters,
                context=session.context(spec.device, meters, measurement.workload),
                listener=_Shown(session),
                freed=several.freed,
                lanes=lanes(self._config),
            )
            keep = partial(write, session.recorder.run.directory)
            return fight(a, b, terms, ground, keep=keep)


class _Shown:
    """Puts a duel's progress on the progress line; its rounds are in its own record."""

    def __init__(self, session: LemSession) -> None:
        self._session = session

    def progress(self, text: str) -> None:
        """What is being done now."""
        self._session.show(text)

    def round_done(self, phase: Phase, round_: Round, timelines: Sequence[Timeline] = ()) -> None:
        """A round has ended."""


def _told(gate: Gate, measurement: Measurement, record: DuelRecord) -> Verdict:
    found = record.verdict
    if found is None:
        return unavailable(gate, measurement, record.a.words, f"the duel ended without a verdict ({record.ended})")
    pairs = sum(pair.reason is None for pair in record.pairs)
    comparison = Comparison(
        baseline=record.a.words,
        candidate=record.b.words,
        outcome=found.status.value,
        reason=found.reason,
        detail=found.detail,
        threshold=found.threshold,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        detectable=found.detectable,
        p=found.p,
        runs=1,
        launches=len(record.b.launches),
        rounds=pairs,
        pairs=pairs,
    )
    return gate_verdict(gate, measurement, record.direction, comparison)
