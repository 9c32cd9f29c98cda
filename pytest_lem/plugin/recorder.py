"""What one process measured: on disk as it happens, in memory for budgets and the table."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from filelock import FileLock

from pytest_lem.campaign.lanes import parse_shard
from pytest_lem.model.cycle import Cycle, Recorded
from pytest_lem.model.errors import UsageError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.phases import Phases
from pytest_lem.model.round import Round
from pytest_lem.model.search import Search
from pytest_lem.model.telemetry import Timeline
from pytest_lem.model.verdict import Verdict
from pytest_lem.plugin import options, resume
from pytest_lem.plugin.state import RUN_NAME, worker_name
from pytest_lem.runner import Phase
from pytest_lem.store.environment import Gpu, collect_environment
from pytest_lem.store.experiments import apart
from pytest_lem.store.run import Run, RunRecord, unwritable
from pytest_lem.store.timelines import TimelineLine, append, pack, set_aside


class Recorder:
    """Writes a run's samples. Raises StoreError when the disk refuses."""

    def __init__(self, config: pytest.Config, gpus: Iterable[Gpu], plan: Iterable[str]) -> None:
        self.config = config
        self.run = _open_run(config, gpus, plan)
        self._held: int | None = self.run.hold()
        self.samples = self.run.samples(worker_name(config) or "main")
        self.measurements: list[Measurement] = []
        self.verdicts: list[Verdict] = []
        self._open = ""
        self._asked: dict[tuple[str, str], Measurement] = {}

    def close(self) -> None:
        """Nothing more comes from this process: the run may be continued."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def refuse_another(self, asked: Measurement) -> None:
        """Raise UsageError where another cycle of this experiment asked for another workload: it is another experiment.

        Seeds may differ. Cycles measured before, or elsewhere, are told apart when the report is made.
        """
        known = self._asked.setdefault((asked.experiment, asked.name), asked)
        if known.test == asked.test:
            self._asked[asked.experiment, asked.name] = asked
        elif known.workload and asked.workload and (names := apart(known.workload, asked.workload)):
            raise UsageError(
                f"{asked.test}: lem_energy.measure: this cycle asks for another workload than {known.test} did "
                f"({', '.join(names)}), and cycles repeat one experiment but for its seed; make it a parameter of the "
                "test, or give each its own name: measure(..., name=...)"
            )

    def begin(self, measurement: Measurement, cycle: Cycle) -> None:
        """Before the first warm-up."""
        self._start(measurement.test)
        self.samples.begin(measurement)
        self.samples.cycle(measurement.id, cycle)
        set_aside(self.run.directory, measurement.id, cycle.index)

    def round(
        self, measurement: Measurement, cycle: int, phase: Phase, round_: Round, timelines: Sequence[Timeline] = ()
    ) -> None:
        """After a round; `timelines` are what its GPUs told meanwhile."""
        self.samples.round(measurement.id, cycle, phase, round_)
        told = {"measurement_id": measurement.id, "cycle": cycle, "phase": phase, "round": round_.index}
        append(self.run.directory, (TimelineLine(**told, timeline=each) for each in timelines))

    def finish(self, measurement: Measurement) -> Measurement:
        """After the last round; gives what the hooks made of it."""
        self._start(measurement.test)
        changed = self.config.hook.pytest_lem_update_record(config=self.config, measurement=measurement)
        final: Measurement = changed if changed is not None else measurement
        self.measurements.append(final)
        # Its line comes last: what has one is not measured again, so nothing of it may be missing then.
        self.run.write_raw(final)
        self.samples.measurement(final)
        pack(self.run.directory, final)
        return final

    def record(self, measurement: Measurement, new: Recorded) -> Measurement:
        """After the user recorded `new`, which is in `measurement` already."""
        self.samples.recorded(measurement.id, measurement.cycles[-1].index, new, measurement.metrics[new.metric])
        self.measurements = [measurement if each.id == measurement.id else each for each in self.measurements]
        return measurement

    def recall(self, measurement: Measurement) -> Measurement:
        """What the run has on disk already: judged as if measured now."""
        self._start(measurement.test)
        self.measurements.append(measurement)
        return measurement

    def ended(self, test: str) -> None:
        """After an item came to its own end: what it measured is all there will be of it."""
        if self._open == test:
            self.samples.ended(test)
            self._open = ""

    def _start(self, test: str) -> None:
        if self._open != test:
            self._open = test
            self.samples.started(test)

    def failed(self, test: str, reason: str) -> None:
        """After an item that could not be measured."""
        self.samples.failed(test, reason)

    def judged(self, verdicts: Sequence[Verdict]) -> None:
        """After a test's budgets were judged, all together."""
        judgement = secrets.token_hex(4)
        for verdict in verdicts:
            self.verdicts.append(verdict)
            self.samples.verdict(verdict, judgement)

    def searched(self, search: Search) -> None:
        """After the last setting of a search."""
        self.samples.search(search)

    def split(self, phases: Phases) -> None:
        """After prefill and decode were told apart."""
        self.samples.phases(phases)

    def forget(self, test: str) -> None:
        """Take this item's earlier attempts out of what budgets and properties see."""
        self._open = ""
        self.measurements = [measurement for measurement in self.measurements if measurement.test != test]

    def measured(self, test: str) -> list[Measurement]:
        """What this item has measured, in order."""
        return [measurement for measurement in self.measurements if measurement.test == test]


def _open_run(config: pytest.Config, gpus: Iterable[Gpu], plan: Iterable[str]) -> Run:
    """The run's folder: created by the first process that measures, opened by the others (one lock between them)."""
    shared = getattr(config, "workerinput", {}).get("lem_run")
    name = shared or config.stash[RUN_NAME]
    folder = options.results(config) / "runs" / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(options.results(config), error.strerror) from None
    with FileLock(folder.parent / f".{name}.lock") if shared else nullcontext():
        if not (folder / "run.json").exists():
            return Run.create(options.results(config), name=name, **_record(config, gpus, plan))
        return _continued(config, Run.open(folder), gpus, plan) if resume.asked(config) else Run.open(folder)


def _continued(config: pytest.Config, run: Run, gpus: Iterable[Gpu], plan: Iterable[str]) -> Run:
    """The run that is continued, with what is new in the plan. Raises UsageError where it was measured elsewhere."""
    other = [
        *resume.differences(run.record.environment, collect_environment(gpus)),
        *_other_options(config, run.record),
    ]
    if other:
        raise UsageError(f"--lem-resume: run {run.id} cannot be continued here: {'; '.join(other)}; begin a new one")
    known = dict.fromkeys([*run.record.plan, *plan])
    return run if len(known) == len(run.record.plan) else run.with_plan(known)


def _other_options(config: pytest.Config, record: RunRecord) -> list[str]:
    """The options that were others when the run began, of those that make it another run."""
    asked = record.asked
    facts = {
        "--lem-meter": (_meters(options.split(asked.get("lem_meter"))), _meters(options.value(config, "meter"))),
        "--lem-shard": (_shard(asked.get("lem_shard")), _shard(options.value(config, "shard"))),
        "--lem-quick": (_switch(record.quick), _switch(options.quick(config))),
    }
    return [f"{option} was {then} then" for option, (then, now) in facts.items() if then != now]


def _meters(asked: list[str] | None) -> str:
    return ",".join(asked or ["auto"])


def _shard(asked: str | None) -> str:
    return "{}/{}".format(*parse_shard(asked)) if asked else "not given"


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _record(config: pytest.Config, gpus: Iterable[Gpu], plan: Iterable[str]) -> dict[str, Any]:
    info: dict[str, Any] = {"extra": {}}
    config.hook.pytest_lem_machine_info(config=config, info=info)
    asked = {o.dest: config.getoption(o.dest) for o in options.OPTIONS if config.getoption(o.dest) is not None}
    settings = {o.dest: config.getini(o.dest) for o in options.OPTIONS if o.kind != "flag" and config.getini(o.dest)}
    told = {"command": asked, "settings": settings, "machine": info["extra"]}
    environment = collect_environment(gpus)
    return {"options": told, "environment": environment, "quick": options.quick(config), "plan": plan}
