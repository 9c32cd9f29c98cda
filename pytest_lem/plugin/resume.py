"""Continuing a run: which one, whether it was measured here, and what it has measured already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_lem.plugin import options

if TYPE_CHECKING:
    from pytest_lem.model.measurement import Measurement
    from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec
    from pytest_lem.store.environment import Environment


def asked(config: pytest.Config) -> bool:
    """Whether an earlier run is to be continued."""
    named = options.value(config, "resume_run")
    return bool(options.retry_failed(config) or config.getoption("lem_resume")) or named is not None


def resumed_name(config: pytest.Config) -> str | None:
    """The run to continue, None for a new one. Raises UsageError where there is none, or none of that name."""
    if not asked(config):
        return None
    from pytest_lem.model.errors import UsageError

    runs = options.results(config) / "runs"
    known = [path.parent.name for path in sorted(runs.glob("*/run.json"), key=_age)]
    named = options.value(config, "resume_run")
    if not known:
        raise UsageError(f"--lem-resume: there is no run to continue in {runs}; leave the option out to begin one")
    name = known[-1] if named is None else Path(named).name
    if name in known:
        from pytest_lem.store.run import is_alive

        if not config.option.collectonly and is_alive(runs / name):
            raise UsageError(f"--lem-resume: run {name} is still running; wait for its end, or begin a new one")
        return name
    raise UsageError(f"--lem-resume-run={named}: there is no such run in {runs}; the newest is {known[-1]}")


def _age(record: Path) -> tuple[str, int]:
    """Sorts runs by the second in which they began, and those of one second by when they were last planned."""
    return record.parent.name.partition("-")[0], record.stat().st_mtime_ns


def differences(then: Environment, now: Environment) -> list[str]:
    """What is not as it was when the run began: samples of both would not be one run's."""
    found = _other_versions(then.packages, now.packages)
    if then.host != now.host:
        found.append(f"host {then.host} then, {now.host} now")
    if then.python != now.python:
        found.append(f"Python {then.python} then, {now.python} now")
    if then.cpu not in ("", now.cpu):
        found.append(f"CPU {then.cpu} then, {now.cpu or 'unknown'} now")
    gone = {gpu.uuid: gpu for gpu in then.gpus}
    here = {gpu.uuid: gpu for gpu in now.gpus}
    found += [f"GPU {uuid} is not here now" for uuid in gone if uuid not in here]
    changed = [gpu for uuid, gpu in here.items() if uuid in gone and gpu != gone[uuid]]
    found += [f"GPU {gpu.uuid} has another driver, power limit or clocks now" for gpu in changed]
    # Boards of one model may differ, as under lanes; another model may not come to them.
    models = {(gpu.name, gpu.power_limit_w) for gpu in then.gpus}
    new = [gpu for uuid, gpu in here.items() if uuid not in gone and (gpu.name, gpu.power_limit_w) not in models]
    return found + [f"GPU {gpu.uuid} ({gpu.name}) is no GPU of then" for gpu in new]


def _other_versions(then: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    return [
        f"{name} {old or 'absent'} then, {new or 'absent'} now"
        for name in sorted({*then, *now})
        if (old := then.get(name)) != (new := now.get(name))
    ]


@dataclass(frozen=True)
class Recall:
    """What the run that is continued has: whole measurements of each item, and items that failed with their reasons.

    `versions` are those that each engine told which measured them.
    """

    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, *, retry: bool) -> Recall:
        """Out of the samples of the run in `folder`; `retry` forgets its failures. Raises StoreError."""
        from pytest_lem.store.experiments import current, is_whole
        from pytest_lem.store.rebuild import gather, still_failed

        found = gather(folder)
        whole: dict[str, list[Measurement]] = {}
        versions: dict[str, dict[str, str | None]] = {}
        for each in current(found.measurements):
            if is_whole(each) and has_valid(each):
                whole.setdefault(each.test, []).append(each)
                if each.engine is not None and (told := each.engine.observed.get("versions")):
                    versions[each.engine.requested.backend] = told
        return cls(whole, {} if retry else still_failed(found), versions)

    def refusal(self, backend: str, versions: Mapping[str, str | None] | None) -> str | None:
        """Why an engine that tells these versions measures nothing for this run; None where it may.

        One that lives in an interpreter of its own may have changed since, and nobody else would notice.
        """
        then = self.versions.get(backend)
        other = _other_versions(then, versions or {}) if then else []
        if not other:
            return None
        return (
            f"--lem-resume: {backend} is not the engine that this run measured with: {'; '.join(other)}; give it its "
            f"interpreter of then (--lem-python={backend}=PATH), or begin a new run"
        )

    def measurement(
        self, test: str, name: str, spec: EngineSpec, workload: WorkloadSpec, protocol: ProtocolSpec
    ) -> Measurement | None:
        """The last whole measurement of exactly this, or None."""
        for each in reversed(self._of(test, spec)):
            same = each.name == name and each.workload == workload
            # How many cycles there are in all changes none of them.
            if same and each.protocol.replace(cycles=1) == protocol.replace(cycles=1):
                return each
        return None

    def observed(self, test: str, spec: EngineSpec) -> dict[str, object] | None:
        """What the engine of this item ran with, or None where it has measured nothing."""
        found = self._of(test, spec)
        return found[-1].engine.observed if found and found[-1].engine else None

    def has(self, test: str) -> bool:
        """Whether anything of this item was measured."""
        return test in self.measurements

    def _of(self, test: str, spec: EngineSpec) -> list[Measurement]:
        found = self.measurements.get(test, ())
        return [each for each in found if each.engine is not None and each.engine.requested == spec]


def has_valid(measurement: Measurement) -> bool:
    """Whether any of its rounds counts: a stranger on the GPU may be gone by now."""
    return any(round_.valid for cycle in measurement.cycles for round_ in cycle.rounds)
