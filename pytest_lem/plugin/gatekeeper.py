"""What the gates of a process share: the baseline, the words that decide, and what the run has measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_lem.gate import Gate, Judged, foreseen, judge
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.verdict import Verdict
from pytest_lem.plugin import options, resume
from pytest_lem.plugin.duels import Duels, side_of
from pytest_lem.plugin.gate_rules import DEFAULT, choice, gates_of, open_for
from pytest_lem.plugin.state import RUN_NAME, known_session, open_session
from pytest_lem.render.numbers import plain_percent
from pytest_lem.reporting import late_metrics
from pytest_lem.stats.effect import false_alarm_chance
from pytest_lem.store.baselines import names
from pytest_lem.store.experiments import joined
from pytest_lem.store.history import Baseline
from pytest_lem.store.rebuild import gather

if TYPE_CHECKING:
    from pytest_lem.plugin.gates import GateItem

KEEPER: pytest.StashKey[Gatekeeper] = pytest.StashKey()


@dataclass(frozen=True)
class Rules:
    """What becomes of verdicts that are neither good nor bad."""

    missing: str = "skip"
    inconclusive: str = "warn"

    def fails(self, verdict: Verdict, gate: Gate) -> bool:
        """Whether this verdict fails the gate's test."""
        if verdict.status == "unavailable":
            return gate.strict
        if verdict.status != "inconclusive":
            return verdict.status == "failed"
        return self.missing == "fail" if without_baseline(verdict) else self.inconclusive == "fail"

    def empty(self, verdict: Verdict) -> bool:
        """Whether nothing was judged."""
        return verdict.status == "unavailable" or without_baseline(verdict)


def without_baseline(verdict: Verdict) -> bool:
    """Whether there was no accepted run to compare with."""
    found = verdict.comparison
    return found is not None and found.runs == 0 and found.estimate is None and found.reason != "incomparable"


class Gatekeeper:
    """One a process. Raises UsageError and StoreError for a baseline that cannot be read."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.rules = Rules(choice(config, "missing_baseline"), choice(config, "inconclusive"))
        self._match = choice(config, "match")
        self.baseline: Baseline | None = None
        named = options.value(config, "baseline")
        if named is not None:
            self.baseline = _without_this(config, open_for(config, named))
        self._fights: Duels | None = None
        self._measured: dict[str, list[Measurement]] | None = None

    def gates(self, item: pytest.Item, experiment: str) -> list[Gate]:
        """What is gated of an experiment: what its test and the command line say, else what the baseline has."""
        return gates_of(item) or [Gate(self._headline(experiment))]

    def wants_relaunch(self, item: GateItem) -> bool:
        """Whether its launches cannot decide, and this session can make another."""
        from pytest_lem.plugin.gates import measured_here

        duels = self._duels() if measured_here(item) else None
        if self.baseline is None or (duels is not None and duels.instead):
            return False
        return measured_here(item) and any(judged.relaunch for judged in self._judged(item))

    def verdicts(self, item: GateItem) -> list[Verdict]:
        """The verdicts of a gate, one a measurement. Skips where its experiment was not measured in this run."""
        found = self._judged(item)
        if not found:
            named = f" with a measurement named {item.gate.name!r}" if item.gate.name else ""
            pytest.skip(
                f"nothing to judge: no cycle of {item.experiment}{named} was measured in this run before its gate"
            )
        duels = self._duels()
        every = duels is not None and (duels.instead or self.baseline is None)
        told = [
            duels.verdict(item.gate, each) if duels is not None and (every or judged.duel) else judged.verdict
            for each, judged in zip(self._chosen(item), found, strict=True)
        ]
        return [_of_gate(verdict, item) for verdict in told]

    def outlook(self, items: Sequence[GateItem]) -> str:
        """What these gates could see, before anything is measured."""
        baseline = self.baseline
        told = f"lem: {len(items)} gate{'s' * (len(items) != 1)}"
        if baseline is None:
            return told
        seen = sorted(found for item in items if (found := foreseen(item.gate, item.subject, baseline)) is not None)
        told += f" against {baseline.name} ({len(baseline.runs)} run{'s' * (len(baseline.runs) != 1)})"
        if not seen:
            # A misspelt name is no error, since a baseline's first run comes before it: what there is, is named.
            others = [] if baseline.runs else names(options.results(self._config))
            return f"{told}: none of them can fail yet" + (f"; there are runs of {', '.join(others)}" if others else "")
        least, most = plain_percent(seen[0]), plain_percent(seen[-1])
        told += f": could see a change over {least if least == most else f'{least} to {most}'}"
        return f"{told}; a false alarm among them: at most {plain_percent(false_alarm_chance(len(seen)))} of such runs"

    def refresh(self) -> None:
        """Forget what was read: the run has measured more since."""
        self._measured = None

    def _judged(self, item: GateItem) -> list[Judged]:
        if known_session(self._config) is None and not resume.asked(self._config):
            return []
        run = open_session(self._config).recorder.run
        baseline = self.baseline or Baseline("none", Path(), ())
        return [
            judge(item.gate, each, baseline, run.record.environment, match=self._match)  # type: ignore[arg-type]
            for each in self._chosen(item)
        ]

    def _chosen(self, item: GateItem) -> list[Measurement]:
        return [each for each in self._measurements(item.experiment) if item.gate.name in (None, each.name)]

    def _duels(self) -> Duels | None:
        if self._fights is None:
            side = side_of(self._config)
            self._fights = Duels(self._config, open_session(self._config), side) if side else None
        return self._fights

    def close(self) -> None:
        """Take away what duels have checked out."""
        if self._fights is not None:
            self._fights.close()

    def _measurements(self, experiment: str) -> list[Measurement]:
        if self._measured is None or experiment not in self._measured:
            folder = open_session(self._config).recorder.run.directory
            self._measured = {}
            for each in joined(gather(folder, aggregate=late_metrics).measurements, late_metrics):
                self._measured.setdefault(each.test, []).append(each)
        return self._measured.get(experiment, [])

    def _headline(self, experiment: str) -> str:
        if self.baseline is None:
            return DEFAULT[0]
        held = self.baseline
        named = [name for test, name in held.measured if test == experiment]
        known = (key for key in DEFAULT if any(held.history(experiment, name, key) for name in named))
        return next(known, DEFAULT[0])


def keeper_of(config: pytest.Config) -> Gatekeeper:
    """The process's gatekeeper, made when the first gate is collected."""
    if KEEPER not in config.stash:
        config.stash[KEEPER] = Gatekeeper(config)
    return config.stash[KEEPER]


def _without_this(config: pytest.Config, found: Baseline) -> Baseline:
    """The baseline without the run that is now judged, which a continued run may have been saved to."""
    return replace(found, runs=tuple(run for run in found.runs if run.id != config.stash[RUN_NAME]))


def _of_gate(verdict: Verdict, item: GateItem) -> Verdict:
    """Under the gate's own id, so that another gate of the same experiment does not take its place."""
    comparison = verdict.comparison
    if comparison is not None and item.relaunched:
        comparison = comparison.model_copy(update={"relaunched": True})
    return verdict.model_copy(update={"test": item.nodeid, "comparison": comparison})
