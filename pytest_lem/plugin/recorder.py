"""What one process measured: on disk as it happens, in memory for budgets and the table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from filelock import FileLock

from pytest_lem.model.errors import StoreError
from pytest_lem.model.measurement import Cycle, Measurement, Round
from pytest_lem.model.verdict import Verdict
from pytest_lem.plugin import options
from pytest_lem.plugin.state import worker_name
from pytest_lem.runner import Phase
from pytest_lem.store.environment import Gpu, collect_environment
from pytest_lem.store.run import Run


class Recorder:
    """Writes a run's samples. Raises StoreError when the disk refuses."""

    def __init__(self, config: pytest.Config, gpus: Iterable[Gpu], plan: Iterable[str]) -> None:
        self.config = config
        self.run = _open_run(config, gpus, plan)
        self.samples = self.run.samples(worker_name(config) or "main")
        self.measurements: list[Measurement] = []
        self.verdicts: list[Verdict] = []

    def begin(self, measurement: Measurement, cycle: Cycle) -> None:
        """Before the first warm-up."""
        self.samples.begin(measurement)
        self.samples.cycle(measurement.id, cycle)

    def round(self, measurement: Measurement, cycle: int, phase: Phase, round_: Round) -> None:
        """After a round."""
        self.samples.round(measurement.id, cycle, phase, round_)

    def finish(self, measurement: Measurement) -> Measurement:
        """After the last round; gives what the hooks made of it."""
        changed = self.config.hook.pytest_lem_update_record(config=self.config, measurement=measurement)
        final: Measurement = changed if changed is not None else measurement
        self.measurements.append(final)
        self.samples.measurement(final)
        self.run.write_raw(final)
        return final

    def verdict(self, verdict: Verdict) -> None:
        """After a budget was judged."""
        self.verdicts.append(verdict)
        self.samples.verdict(verdict)

    def forget(self, test: str) -> None:
        """Take this item's earlier attempts out of what budgets and properties see."""
        self.measurements = [measurement for measurement in self.measurements if measurement.test != test]

    def measured(self, test: str) -> list[Measurement]:
        """What this item has measured, in order."""
        return [measurement for measurement in self.measurements if measurement.test == test]


def _open_run(config: pytest.Config, gpus: Iterable[Gpu], plan: Iterable[str]) -> Run:
    """The run's folder: created by the first process that measures, opened by the others (one lock between them)."""
    name = getattr(config, "workerinput", {}).get("lem_run")
    if name is None:
        return Run.create(options.results(config), **_record(config, gpus, plan))
    folder = options.results(config) / "runs" / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"--lem-results: results cannot be written to {folder.parent} ({error.strerror})") from None
    with FileLock(folder.parent / f".{name}.lock"):
        if (folder / "run.json").exists():
            return Run.open(folder)
        return Run.create(options.results(config), name=name, **_record(config, gpus, plan))


def _record(config: pytest.Config, gpus: Iterable[Gpu], plan: Iterable[str]) -> dict[str, Any]:
    info: dict[str, Any] = {"extra": {}}
    config.hook.pytest_lem_machine_info(config=config, info=info)
    asked = {o.dest: config.getoption(o.dest) for o in options.OPTIONS if config.getoption(o.dest) is not None}
    settings = {o.dest: config.getini(o.dest) for o in options.OPTIONS if o.kind != "flag" and config.getini(o.dest)}
    told = {"command": asked, "settings": settings, "machine": info["extra"]}
    environment = collect_environment(gpus)
    return {"options": told, "environment": environment, "quick": options.quick(config), "plan": plan}
