"""Owns the engine processes of a pytest process: one at a time, kept while the next test can use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from pytest_lem.building import started
from pytest_lem.cooling import Cooling
from pytest_lem.engines import registry
from pytest_lem.engines.host import Engine
from pytest_lem.meters.nvml import memory_used
from pytest_lem.meters.registry import MeterSet
from pytest_lem.model.cycle import Gap
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import EngineSpec
from pytest_lem.plugin import gpu_memory
from pytest_lem.plugin.gpus import Gpus


@dataclass
class EnginePool:
    """The engine that runs now, if any. `gpus` are leased when an engine first needs one; `cooling` makes the gaps.

    `progress` puts a text on the progress line, `say` writes a line that stays. `meters` opens meters over GPUs, for a
    start that builds an engine: those that measure its rounds shall not take the GPU as idle as it was before.
    """

    gpus: Gpus
    logs: Path
    progress: Callable[[str], None]
    say: Callable[[str], None]
    meters: Callable[[Sequence[str]], MeterSet]
    cooling: Cooling | None = None
    engine: Engine | None = None
    spec: EngineSpec | None = None
    _cycle: int = 0
    _before: dict[str, int] = field(default_factory=dict)
    _gap: Gap | None = None
    _started: int = 0
    _starting: Engine | None = None
    _several: Several | None = None

    def acquire(self, spec: EngineSpec, cycle: int) -> tuple[EngineSpec, Engine]:
        """The engine for `spec` and `cycle`, started unless it runs already. Raises EngineError."""
        if self.engine is not None and self.spec is not None and self._runs(spec, cycle) and self._usable():
            return self.spec, self.engine
        self.stop()
        resolved, gpus = self.place(spec)
        self._gap = self._make_gap()
        self.gpus.warn_of_strangers(gpus)
        self._before = {uuid: memory_used(uuid) for uuid in gpus}
        self.engine = self.start(resolved, gpus)
        self.spec, self._cycle = resolved, cycle
        return resolved, self.engine

    def resolved(self, spec: EngineSpec) -> EngineSpec:
        """`spec` with its device: cuda where there is a GPU to lease, unless it names one itself."""
        return spec.replace(device="cuda" if self.gpus.candidates else "cpu") if spec.device == "auto" else spec

    def _runs(self, spec: EngineSpec, cycle: int) -> bool:
        """Whether the engine that runs is the one for `spec`, whose device may be resolved or not."""
        return (self.spec, self._cycle) == (self.resolved(spec), cycle)

    def _usable(self) -> bool:
        return self.engine is not None and self.engine.alive and not self.engine.busy

    def keep_for(self, wanted: tuple[EngineSpec, int] | None) -> None:
        """Stop the engine unless the next item needs the same one."""
        if wanted is None or not self._runs(*wanted):
            self.stop()

    def stop(self) -> None:
        """Stop the engine and wait until its GPU memory is really free."""
        engine, self.engine, self.spec = self.engine, None, None
        if engine is None:
            return
        try:
            engine.stop()
        except BaseException:
            engine.kill()  # Ctrl-C while it was about to end: nobody else knows of it any more
            raise
        gpu_memory.freed(self._before)

    def discard(self) -> None:
        """Kill an engine that failed: the next test gets a fresh one."""
        if self.engine is not None:
            self.engine.kill()
        self.stop()

    @contextmanager
    def several(self) -> Iterator[Several]:
        """Room for engines that run at the same time, once the one that ran is gone; none of them is left behind."""
        self.stop()
        found = self._several = Several(self)
        try:
            yield found
        finally:
            self._several = None
            found.end()

    def take_gap(self) -> Gap | None:
        """The gap before the start of the engine that runs; once, so that one measurement tells it."""
        gap, self._gap = self._gap, None
        return gap

    def start(self, spec: EngineSpec, gpus: tuple[str, ...]) -> Engine:
        """An engine of which the caller takes care. Raises EngineError."""
        self.progress(f"start {spec.backend} {spec.model} {spec.precision_id}")
        start = partial(Engine.start, spec, gpus=gpus, log_path=self._log(spec), on_progress=self.progress)
        if not registry.entry(spec.backend).builds(spec.options):
            return start()

        def known() -> Engine:
            self._starting = start()
            return self._starting

        try:
            return started(lambda: self.meters(gpus), known)
        finally:
            self._starting = None

    def _make_gap(self) -> Gap | None:
        """Wait between two engines: not before the first."""
        if self.cooling is None:
            return None
        self.cooling.remember(self.gpus.leased)
        if not self._started:
            return None
        gap = self.cooling.wait(self.progress)
        if gap.ended == "no-gpu" and self._started == 1:
            self.say(f"lem: --lem-gap={gap.asked}: no GPU is in use here, so nothing has to cool")
        return gap

    @property
    def running(self) -> list[Engine]:
        """Every engine that this process has at work."""
        own = [engine for engine in (self.engine, self._starting) if engine is not None]
        return [*own, *(self._several.engines if self._several else ())]

    def place(self, spec: EngineSpec) -> tuple[EngineSpec, tuple[str, ...]]:
        """The spec with its device, and the GPUs (UUIDs) it gets. Raises EngineError where there are too few."""
        spec = self.resolved(spec)
        if spec.device == "cpu":
            return spec, ()
        visible = len(self.gpus.candidates)
        if visible < spec.gpus:
            raise EngineError(
                f"{spec.backend} needs {spec.gpus} GPU(s), {visible} visible here (CUDA_VISIBLE_DEVICES, --lem-gpus "
                "and a worker's --lem-gpus-per-worker count); ask for fewer (gpus=), or for device='cpu'",
                kind="usage",
            )
        return spec, self.gpus.lease()[: spec.gpus]

    def _log(self, spec: EngineSpec) -> Path:
        self._started += 1
        name = re.sub(r"[^A-Za-z0-9.]+", "_", f"{spec.backend}-{spec.model}-{spec.precision_id}")
        self.logs.mkdir(parents=True, exist_ok=True)
        # Another worker, or the run before it was continued, may have a log of this name already.
        for number in count(self._started):
            path = self.logs / f"engine-{number}_{name[:100]}.log"
            with suppress(FileExistsError):
                path.touch(exist_ok=False)
                break
        return path


@dataclass
class Several:
    """Engines that run at the same time on the same GPUs."""

    pool: EnginePool
    engines: list[Engine] = field(default_factory=list)
    _gpus: tuple[str, ...] = ()
    _before: dict[str, int] = field(default_factory=dict)

    def place(self, spec: EngineSpec) -> tuple[str, ...]:
        """The GPUs (UUIDs) on which all of them will run. Raises EngineError where there are too few."""
        _, self._gpus = self.pool.place(spec)
        self._before = {uuid: memory_used(uuid) for uuid in self._gpus}
        return self._gpus

    def start(self, spec: EngineSpec) -> Engine:
        """One more. Raises EngineError."""
        engine = self.pool.start(spec, self._gpus)
        self.engines.append(engine)
        return engine

    def freed(self) -> None:
        """Wait until the GPUs' memory is what it was before the first."""
        self.engines = [engine for engine in self.engines if engine.alive]
        gpu_memory.freed(self._before)

    def end(self) -> None:
        """Kill what is left of them."""
        for engine in self.engines:
            if engine.alive:
                engine.kill()
        self.freed()
