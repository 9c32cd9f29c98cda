"""Start engines in tests: validated like a user's, on the CPU, always stopped, never left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_lem.engines import host, registry
from pytest_lem.engines.host import Engine
from pytest_lem.engines.protocol import Prepared
from pytest_lem.model.errors import EngineError
from pytest_lem.model.latency import RequestTimes
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.workloads.work import Request, Work


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


def prepare(engine: Engine, work: Work) -> Prepared:
    """Hand an engine a work that was written down request by request, instead of drawn for a workload."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "build_work", lambda *_: work)
        patch.setattr(registry, "check_workload", lambda *_: None)
        return engine.prepare(WorkloadSpec())


def waves(*groups: list[tuple[Sequence[int], int]], **decoding: Any) -> Work:
    """Waves of requests, each a prompt and how many tokens it gets."""
    requests = [Request(prompt=tuple(prompt), output_tokens=tokens) for group in groups for prompt, tokens in group]
    places = iter(range(len(requests)))
    indices = tuple(tuple(next(places) for _ in group) for group in groups)
    return Work(submission="waves", requests=tuple(requests), waves=indices, decoding=decoding)


def arriving(*requests: tuple[Sequence[int], int, float], batch: int = 1) -> Work:
    """An open loop: each request's prompt, how many tokens it gets, and when it comes."""
    made = tuple(Request(prompt=tuple(prompt), output_tokens=tokens, arrival_s=at) for prompt, tokens, at in requests)
    return Work(submission="open", requests=made, batch=batch)


def closed(concurrency: int, *requests: tuple[Sequence[int], int], batch: int = 1) -> Work:
    """A closed loop of so many clients."""
    made = tuple(Request(prompt=tuple(prompt), output_tokens=tokens) for prompt, tokens in requests)
    return Work(submission="closed", requests=made, concurrency=concurrency, batch=batch)


def most_in_flight(request_times: Sequence[RequestTimes]) -> int:
    """The most requests that were sent and not yet answered at any instant."""
    sent = [(times.sent_ms, 1) for times in request_times]
    answered = [(times.due_ms + times.e2e_ms, -1) for times in request_times]
    return max(accumulate(change for _, change in sorted(sent + answered)))


def sent_unanswered(request_times: Sequence[RequestTimes]) -> int:
    """How many requests were sent before any was answered."""
    first = min(times.due_ms + times.e2e_ms for times in request_times)
    return sum(times.sent_ms < first for times in request_times)


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
