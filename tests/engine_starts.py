"""Start engines in tests: validated like a user's, on the CPU, always stopped, never left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from pytest_lem.engines import registry
from pytest_lem.engines.host import Engine
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec


def spec(backend: str = "fake", **fields: Any) -> EngineSpec:
    return registry.validate(EngineSpec(backend=backend, **fields))


@contextmanager
def started(asked: EngineSpec, folder: Path, **keywords: Any) -> Iterator[Engine]:
    engine = Engine.start(asked, gpus=(), log_path=folder / "engine.log", **keywords)
    try:
        yield engine
    finally:
        engine.stop()


def fake(folder: Path, **options: Any) -> Any:
    """A running fake engine with `options`."""
    return started(spec(options=options), folder)


def run_once(folder: Path, workload: WorkloadSpec | None = None, timeout: float = 60, **options: Any) -> EngineError:
    """The error of a fake engine that is started, prepared and run once; AssertionError when there is none."""
    try:
        engine = Engine.start(spec(options=options), gpus=(), log_path=folder / "engine.log", start_timeout=timeout)
    except EngineError as error:
        return error
    try:
        engine.prepare(workload or WorkloadSpec(), timeout=timeout)
        engine.run(1, hooks=True, timeout=timeout)
    except EngineError as error:
        return error
    finally:
        engine.kill()
    raise AssertionError("the engine did not fail")


def is_gone(pid: int) -> bool:
    """Whether no process runs under `pid`; one that is dead and only waits to be reaped is gone."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def killed_in_the_end(parent):
    """Whatever goes wrong inside: a parent that lives on would be waited for without end."""
    try:
        yield
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
