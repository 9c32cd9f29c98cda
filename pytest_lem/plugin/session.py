"""Everything a pytest process holds while it measures: meters, engines, the record, the progress line."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

import pytest

from pytest_lem.cooling import Cooling, gap_rule
from pytest_lem.device_joules import Context
from pytest_lem.engines.host import Engine
from pytest_lem.meters import nvml
from pytest_lem.meters.registry import MeterSet, open_meters
from pytest_lem.meters.telemetry import Telemetry
from pytest_lem.model.errors import EngineError, LemError, MeterError, UsageError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.plugin import options, resume
from pytest_lem.plugin.backend import Backend
from pytest_lem.plugin.breaker import Breaker
from pytest_lem.plugin.check import allowed_failures, flops_method, telemetry_hertz
from pytest_lem.plugin.generators import take_generators
from pytest_lem.plugin.gpus import Gpus, candidates, command_line, lease_count, visible
from pytest_lem.plugin.pool import EnginePool
from pytest_lem.plugin.progress import Progress
from pytest_lem.plugin.recorder import Recorder
from pytest_lem.plugin.resume import Recall
from pytest_lem.plugin.state import GPU_COUNTS
from pytest_lem.plugin.stopping import Stopping
from pytest_lem.store.environment import Gpu


class LemSession:
    """Made when a test first needs it, closed at the end of pytest's session."""

    def __init__(self, config: pytest.Config, plan: Sequence[str]) -> None:
        self.config = config
        take_generators(config)
        names = options.value(config, "meter")
        self.meter_names: Sequence[str] | None = names
        self.meter_named = bool(names) and list(names) != ["auto"]
        found = candidates(config)
        self._meters: dict[tuple[str, ...], MeterSet] = {}
        self._telemetry: dict[tuple[str, ...], Telemetry] = {}
        self._hertz = telemetry_hertz(config)
        if self.meter_named:
            self.meters(found)
        self._carbon = self._grams_per_joule()  # a wrong one is told before there is a run, which would be an empty one
        self.recorder = Recorder(config, self._described(), plan)
        self.recall = self._recall()
        self._changed: dict[str, str] = {}
        self.breaker = Breaker(allowed_failures(config))
        self.progress = Progress(config)
        self.test = ""
        self.window: str | None = None
        self._gpus = Gpus(
            candidates=found,
            count=lease_count(config, config.stash.get(GPU_COUNTS, ()), found),
            command=command_line(config),
            show=self.show,
            say=None if self.progress.on else self.progress.say,
            test=lambda: self.test,
        )
        logs = self.recorder.run.directory / "logs"
        self.pool = EnginePool(self._gpus, logs, self.show, self.progress.say, self._open_meters, self._cooling())
        self.flops = flops_method(config)
        self.stopping = Stopping()
        self.stopping.take()

    def meters(self, gpus: Sequence[str]) -> MeterSet:
        """The meters over these GPUs and the host, opened once. Raises MeterError for a named one that can't work."""
        key = tuple(gpus)
        if key not in self._meters:
            self._meters[key] = self._open_meters(key)
        return self._meters[key]

    def telemetry(self, gpus: Sequence[str]) -> Telemetry:
        """What samples these GPUs while they work, opened once."""
        key = tuple(gpus)
        if key not in self._telemetry:
            self._telemetry[key] = self.meters(key).telemetry(self._hertz)
        return self._telemetry[key]

    def _open_meters(self, gpus: Sequence[str]) -> MeterSet:
        return open_meters(self.meter_names, gpus=gpus, own_pids=self.own_pids)

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs of the GPUs that are leased; () until something needs them."""
        return self._gpus.leased

    def lease(self) -> None:
        """Have the GPUs, for code that will run on them or meters that will read them. Raises UsageError."""
        try:
            self._gpus.lease()
            self._gpus.note_test()
        finally:
            self.progress.clear()

    def give_back(self) -> None:
        """Let others have the GPUs; whoever needs them next in this run leases them again."""
        self._gpus.release()

    def refuse_inside_window(self, what: str) -> None:
        """Raise UsageError while a window is open: each meter reads one window at a time."""
        if self.window is not None:
            raise UsageError(f"lem_energy.{what} inside the window {self.window!r}: end that window first")

    def backend(self, spec: EngineSpec, cycle: int, test: str) -> Backend:
        """A handle to the engine for `spec`, started unless it runs, or has measured `test` already.

        Raises EngineError, and UsageError where the run that is continued was measured with other versions of it.
        """
        resolved = self.pool.resolved(spec)
        return Backend(resolved, cycle, lambda: self._engine(spec, cycle, test), self.recall.observed(test, resolved))

    def _engine(self, spec: EngineSpec, cycle: int, test: str) -> Engine:
        try:
            self._refuse_changed(spec.backend, test)
            _, engine = self.pool.acquire(spec, cycle)
            if refused := self.recall.refusal(spec.backend, engine.observed.get("versions")):
                self._changed[spec.backend] = refused
                self.pool.stop()
                self._refuse_changed(spec.backend, test)
            self._gpus.note_test()
        except EngineError as error:
            self.breaker.failed(error)
            raise
        finally:
            self.progress.clear()
        return engine

    def _refuse_changed(self, backend: str, test: str) -> None:
        """Raise UsageError where the run that is continued was measured with another engine of this name."""
        if backend in self._changed:
            # Known in this process, and not on disk as a failure of the test: the right engine can measure it yet.
            self.recall.failures[test] = self._changed[backend]
            raise UsageError(self._changed[backend])

    def refuse(self, test: str) -> None:
        """Fail an item that failed before in the run that is continued; skip it where engines fail in a row."""
        failure = self.recall.failures.get(test)
        if failure is not None:
            pytest.fail(f"failed before in this run: {failure} (--lem-retry-failed tries it again)", pytrace=False)
        if self.breaker.reason is not None and not self.recall.has(test):
            pytest.skip(self.breaker.reason)

    def remeasure(self, test: str) -> None:
        """Have this item measured on a fresh engine when it runs again, whatever a continued run has of it."""
        self.recall.measurements.pop(test, None)
        self.pool.stop()

    def own_pids(self) -> Collection[int]:
        """The processes that may use our GPUs: pytest itself and the engine's group."""
        return {os.getpid(), *(pid for engine in self.pool.running for pid in engine.pids())}

    def context(self, device: str, meters: MeterSet, workload: WorkloadSpec | None) -> Context:
        """What the metrics need to know beside the rounds; `workload` is None for a plain window."""
        grams, reason = self._carbon
        return Context(
            device=device,
            meters=meters.records,
            grams_per_joule=grams,
            carbon_reason=reason,
            work=workload is not None,
            slo=workload.slo if workload else None,
        )

    def show(self, text: str) -> None:
        """Put `text` on the progress line."""
        self.progress.show(self.test, text)

    def close(self) -> None:
        """Stop the engine, let go of the meters and the GPUs."""
        self.progress.clear()
        self.pool.stop()
        for telemetry in self._telemetry.values():
            telemetry.close()
        self._telemetry.clear()
        for meters in self._meters.values():
            meters.close()
        self._meters.clear()
        self._gpus.release()
        self.recorder.close()
        self.stopping.give_back()

    def _described(self) -> list[Gpu]:
        return [
            Gpu(
                uuid=gpu.uuid,
                name=gpu.name,
                driver=gpu.driver,
                power_limit_w=gpu.power_limit_w,
                clocks_mhz=dict(gpu.clocks_mhz),
            )
            for gpu in nvml.known(visible(self.config))
        ]

    def _recall(self) -> Recall:
        if not resume.asked(self.config):
            return Recall()
        return Recall.of(self.recorder.run.directory, retry=options.retry_failed(self.config))

    def _cooling(self) -> Cooling | None:
        asked = options.value(self.config, "gap")
        return Cooling(gap_rule(asked)) if asked else None

    def _grams_per_joule(self) -> tuple[float | None, str]:
        place = options.value(self.config, "carbon")
        if not place:
            return None, "no carbon intensity was given (--lem-carbon=ISO3|GRAMS)"
        from pytest_lem.meters.carbon import grams_per_joule

        try:
            return grams_per_joule(place), ""
        except MeterError as error:
            raise LemError(str(error)) from None
