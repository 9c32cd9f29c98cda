"""Where two engines meet: loaded together, round by round in turn, both launched anew every ten pairs.

What a day, a host or a hot GPU does to one side it does to the other, so a duel sees smaller changes than a comparison
with what was measured before. Where the two do not fit into memory together, whole launches take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from pytest_lem.duel import pairing
from pytest_lem.duel.corner import Corner, Ground, Terms
from pytest_lem.duel.record import DuelLook, DuelPair, DuelRecord, DuelSide, Ended
from pytest_lem.duel.shares import Shares, shared
from pytest_lem.duel.sides import OPTION, Contestant
from pytest_lem.launches import OF_ROUNDS
from pytest_lem.model.errors import EngineError, UsageError
from pytest_lem.model.metrics import Metric
from pytest_lem.runner import SPARE_ROUNDS
from pytest_lem.stats.duel import LOOKS, Duel
from pytest_lem.stats.verdict import Verdict

BLOCK = 10
"""Pairs from one launch of both engines to the next."""
LAUNCH_PAIRS = 8
"""Launches of each side where the launch is the unit: the fewest that `Duel.conclude` judges, in one look."""
Keep = Callable[[DuelRecord], object]


def fight(
    a: Contestant,
    b: Contestant,
    terms: Terms,
    ground: Ground,
    *,
    keep: Keep | None = None,
    max_seconds: float | None = None,
) -> DuelRecord:
    """Let the baseline `a` and the candidate `b` fight until a look decides, and return the record with its verdict.

    No other engine may run on the GPUs. `keep` is given the record after every launch, and at the end whatever that
    is. `max_seconds` ends a duel that has not decided by then, after the pair that it is at.

    Raises EngineError, MeterError, Unavailable where the metric cannot be read, UsageError for a metric that cannot be
    compared so. Whatever happens, no engine is left.
    """
    check_metric(terms.metric)
    arena = _Arena(a, b, terms, ground, keep or (lambda _record: None), max_seconds)
    ended: Ended = "failed"
    try:
        ended = arena.fight()
    except KeyboardInterrupt:
        ended = "interrupted"
        raise
    finally:
        arena.close(ended)
    return arena.record(ended)


def check_metric(metric: Metric) -> None:
    """Raise UsageError for a metric that has no value a round."""
    if metric.kind not in OF_ROUNDS and not metric.is_hooked:
        raise UsageError(
            f"{OPTION}: {metric.key} cannot be compared in a duel: it has no value for each round; "
            "compare it with a baseline instead"
        )


class _Arena:
    """A duel while it is fought."""

    def __init__(
        self, a: Contestant, b: Contestant, terms: Terms, ground: Ground, keep: Keep, max_seconds: float | None
    ) -> None:
        self._contestants = (a, b)
        hooked = terms.metric.is_hooked
        self._terms = replace(terms, protocol=terms.protocol.replace(latency=True)) if hooked else terms
        self._ground = ground
        self._keep = keep
        self._deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._shares: Shares = shared(a.spec, b.spec)
        self._started = datetime.now(UTC)
        together = self._shares.together
        self.corners = (
            Corner("baseline", together[0], self._terms, ground),
            Corner("candidate", together[1], self._terms, ground),
        )
        self._duel = self._new_duel()
        self._pairs: list[DuelPair] = []
        self._invalid = 0
        self._looks: list[DuelLook] = []
        self._verdict: Verdict | None = None
        self._alternated: str | None = None

    def fight(self) -> Ended:
        """Until there is a verdict; how it ended."""
        if self._shares.crowded:
            self._part(self._shares.crowded)
            return self._in_turn()
        try:
            return self._side_by_side()
        except EngineError as error:
            # Memory that a side lacks while the other one is loaded may be enough for it alone.
            if error.kind != "memory" or not any(corner.alive for corner in self.corners):
                raise
            self._part(str(error))
        return self._in_turn()

    def close(self, ended: Ended) -> None:
        """End what runs, keep what there is; both also where one of them goes wrong."""
        stopped = "failed" if ended == "failed" else "interrupted"
        try:
            self._drop(stopped)
        finally:
            self._keep(self.record(ended))

    def record(self, ended: Ended) -> DuelRecord:
        """What there is so far."""
        terms = self._terms
        a, b = map(_side, self._contestants, self.corners)
        return DuelRecord(
            started=self._started,
            test=terms.test,
            name=terms.name,
            metric=terms.metric.key,
            metric_unit=terms.metric.unit,
            threshold=terms.threshold,
            direction=terms.direction,
            workload=terms.workload,
            protocol=terms.protocol,
            meters=self._ground.meters.records,
            unit="launch" if self._alternated else "round",
            alternated=self._alternated,
            a=a,
            b=b,
            pairs=tuple(self._pairs),
            looks=tuple(self._looks),
            ended=ended,
            verdict=self._verdict,
        )

    def _side_by_side(self) -> Ended:
        hooked = self._terms.metric.is_hooked
        for launch in count(1):
            corners = pairing.order(self.corners, launch - 1)
            for corner in corners:
                corner.launch()
            for corner in corners:
                corner.bout.ready()
            ended = None
            for _ in range(BLOCK):
                ended = self._judged(pairing.of_rounds(self.corners, len(self._pairs), hooked=hooked), launch)
                if ended:
                    break
            for corner in corners:
                corner.leave("rounds")
            self._ground.freed()
            if ended:
                return ended
            self._keep(self.record("interrupted"))
        raise AssertionError("a duel has a last look")

    def _in_turn(self) -> Ended:
        for launch in count(1):
            ended = self._judged(pairing.of_launches(self.corners, launch - 1), launch)
            if ended:
                return ended
            if self._duel.pairs == LAUNCH_PAIRS:
                return self._concluded("verdict", "", launch)
            self._keep(self.record("interrupted"))
        raise AssertionError("a duel has a last launch")

    def _judged(self, pair: DuelPair, launches: int) -> Ended | None:
        """How the duel ended with this pair; None where more are wanted."""
        self._pairs.append(pair)
        if pair.reason is not None:
            self._invalid += 1
        elif pair.a is not None and pair.b is not None:
            found = self._duel.add([pair.a], [pair.b], launches)
            verdict = None if found == "more" else found
            if self._duel.pairs in LOOKS:
                self._look(launches, verdict)
            if verdict is not None:
                self._verdict = verdict
                return "verdict"
        return self._given_up(launches)

    def _given_up(self, launches: int) -> Ended | None:
        if self._invalid > self._duel.pairs + SPARE_ROUNDS:
            last = next(pair.reason for pair in reversed(self._pairs) if pair.reason)
            return self._concluded("invalid", f"{self._invalid} pairs are invalid ({last})", launches)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return self._concluded("max-seconds", "the duel's time was over", launches)
        return None

    def _concluded(self, ended: Ended, detail: str, launches: int) -> Ended:
        verdict = self._duel.conclude()
        self._verdict = replace(verdict, detail="; ".join(filter(None, (verdict.detail, detail))))
        self._look(launches, self._verdict)
        return ended

    def _look(self, launches: int, verdict: Verdict | None) -> None:
        self._looks.append(
            DuelLook(pairs=self._duel.pairs, launches=launches, status=verdict.status if verdict else None)
        )

    def _part(self, reason: str) -> None:
        """From now on one engine at a time, with the memory to itself, judged afresh."""
        self._drop("failed")
        self._ground.freed()
        self._alternated = reason
        aside = {"a": None, "b": None, "reason": "measured while both engines were loaded, and set aside"}
        self._pairs = [pair.model_copy(update=aside) for pair in self._pairs]
        self._looks, self._invalid, self._duel = [], 0, self._new_duel()
        for corner, spec in zip(self.corners, self._shares.alone, strict=True):
            corner.spec = spec

    def _new_duel(self) -> Duel:
        return Duel(threshold=self._terms.threshold, direction=self._terms.direction)

    def _drop(self, stopped: str) -> None:
        try:
            self.corners[0].drop(stopped)
        finally:
            self.corners[1].drop(stopped)


def _side(contestant: Contestant, corner: Corner) -> DuelSide:
    return DuelSide(
        words=contestant.words,
        requested=corner.spec,
        observed=corner.observed,
        commit=contestant.commit,
        launches=corner.launches,
    )
