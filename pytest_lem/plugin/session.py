"""Everything a pytest process holds while it measures: meters, engines, the record, the progress line."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

import pytest

from pytest_lem.device_joules import Context
from pytest_lem.engines.host import Engine
from pytest_lem.meters import nvml
from pytest_lem.meters.registry import MeterSet, open_meters
from pytest_lem.model.errors import LemError, MeterError, UsageError
from pytest_lem.model.specs import EngineSpec
from pytest_lem.plugin import options
from pytest_lem.plugin.backend import Backend
from pytest_lem.plugin.pool import EnginePool
from pytest_lem.plugin.progress import Progress
from pytest_lem.plugin.recorder import Recorder
from pytest_lem.store.environment import Gpu


class LemSession:
    """Made when a test first needs it, closed at the end of pytest's session."""

    def __init__(self, config: pytest.Config, plan: Sequence[str]) -> None:
        self.config = config
        names = options.value(config, "meter")
        self.meter_names: Sequence[str] | None = names
        self.meter_named = bool(names) and list(names) != ["auto"]
        self.gpus = nvml.visible_gpus(os.environ)
        self._meters: dict[tuple[str, ...], MeterSet] = {}
        self.meters(self.gpus)
        self.recorder = Recorder(config, self._described(), plan)
        self.progress = Progress(config)
        self.test = ""
        self.window: str | None = None
        self.pool = EnginePool(self.gpus, self.recorder.run.directory / "logs", self.show)
        self._carbon = self._grams_per_joule()

    def meters(self, gpus: Sequence[str]) -> MeterSet:
        """The meters over these GPUs and the host, opened once. Raises MeterError for a named one that can't work."""
        key = tuple(gpus)
        if key not in self._meters:
            self._meters[key] = open_meters(self.meter_names, gpus=key, own_pids=self.own_pids)
        return self._meters[key]

    def refuse_inside_window(self, what: str) -> None:
        """Raise UsageError while a window is open: each meter reads one window at a time."""
        if self.window is not None:
            raise UsageError(f"lem_energy.{what} inside the window {self.window!r}: end that window first")

    def backend(self, spec: EngineSpec, cycle: int) -> Backend:
        """A handle to the engine for `spec`, started unless it runs already. Raises EngineError."""
        try:
            resolved, engine = self.pool.acquire(spec, cycle)
        finally:
            self.progress.clear()
        return Backend(resolved, engine, cycle)

    def own_pids(self) -> Collection[int]:
        """The processes that may use our GPUs: pytest itself and the engine's group."""
        engine: Engine | None = self.pool.engine
        return {os.getpid(), *(engine.pids() if engine else ())}

    def context(self, device: str, meters: MeterSet, *, work: bool = True) -> Context:
        """What the metrics need to know beside the rounds."""
        grams, reason = self._carbon
        return Context(device=device, meters=meters.records, grams_per_joule=grams, carbon_reason=reason, work=work)

    def show(self, text: str) -> None:
        """Put `text` on the progress line."""
        self.progress.show(self.test, text)

    def close(self) -> None:
        """Stop the engine and let go of the meters."""
        self.progress.clear()
        self.pool.stop()
        for meters in self._meters.values():
            meters.close()
        self._meters.clear()

    def _described(self) -> list[Gpu]:
        known = {gpu.uuid: gpu for gpu in nvml.gpus()} if self.gpus else {}
        return [
            Gpu(uuid=gpu.uuid, name=gpu.name, driver=gpu.driver, power_limit_w=gpu.power_limit_w)
            for gpu in (known[uuid] for uuid in self.gpus if uuid in known)
        ]

    def _grams_per_joule(self) -> tuple[float | None, str]:
        place = options.value(self.config, "carbon")
        if not place:
            return None, "no carbon intensity was given (--lem-carbon=ISO3|GRAMS)"
        from pytest_lem.meters.carbon import grams_per_joule

        try:
            return grams_per_joule(place), ""
        except MeterError as error:
            raise LemError(str(error)) from None
