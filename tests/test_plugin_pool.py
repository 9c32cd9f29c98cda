"""One engine at a time, and none before the last one's memory is really free."""

from __future__ import annotations

import sys
from dataclasses import replace

import fake_engine
import pytest
from fake_pynvml import FakeGpu, fake_pynvml
from test_meter_watching import Recorder

from pytest_lem.campaign.leases import Leases
from pytest_lem.engines import registry
from pytest_lem.meters import nvml
from pytest_lem.meters.registry import MeterSet
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import EngineSpec
from pytest_lem.plugin import gpu_memory
from pytest_lem.plugin import pool as pools
from pytest_lem.plugin.gpus import Gpus
from pytest_lem.plugin.pool import EnginePool

GIB = 2**30
SPEC = EngineSpec(backend="fake")


def ignore(text: str) -> None:
    pass


@pytest.fixture
def gpus(tmp_path):
    """Two GPUs, both leased when an engine first needs one."""
    made = Gpus(("GPU-a", "GPU-b"), 2, "pytest", show=ignore, say=ignore, leases=Leases(tmp_path / "locks"))
    yield made
    made.release()


@pytest.fixture
def pool(tmp_path, monkeypatch, pytester, gpus):
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(FakeGpu("GPU-a"), FakeGpu("GPU-b")))
    nvml.library.cache_clear()
    pytester.syspathinsert(fake_engine.install(tmp_path / "site"))
    made = EnginePool(gpus, logs=tmp_path / "logs", progress=ignore, say=ignore, meters=lambda gpus: MeterSet())
    yield made
    made.discard()
    nvml.library.cache_clear()


@pytest.fixture
def memory(monkeypatch):
    """What NVML will say of each GPU's memory, reading by reading; the last one stays."""
    said = [0]
    for module in (pools, gpu_memory):
        monkeypatch.setattr(module, "memory_used", lambda uuid: said.pop(0) if len(said) > 1 else said[0])
    return said


def test_the_next_start_waits_until_the_last_engines_memory_is_free(pool, memory):
    memory[:] = [1 * GIB, 9 * GIB, 5 * GIB, 1 * GIB + 1000]
    pool.acquire(SPEC, 0)
    pool.stop()
    assert memory == [1 * GIB + 1000]  # read until it was back within 64 MiB, no longer


def test_memory_that_stays_is_told(pool, memory, monkeypatch):
    monkeypatch.setattr(gpu_memory, "SETTLE_SECONDS", 0.0)
    memory[:] = [1 * GIB, 3 * GIB]
    pool.acquire(SPEC, 0)
    with pytest.warns(pytest.PytestWarning, match=r"still in use after an engine's end \(GPU-a: 2048 MiB\)"):
        pool.stop()


def test_an_engine_is_kept_for_a_test_that_needs_the_same_and_stopped_for_any_other(pool, memory):
    _, first = pool.acquire(SPEC, 0)
    pool.keep_for((SPEC, 0))
    assert pool.acquire(SPEC, 0)[1] is first
    pool.keep_for((SPEC, 1))  # another cycle is a fresh launch
    assert not first.alive
    assert pool.acquire(SPEC, 1)[1].pid != first.pid


def test_an_engine_gets_as_many_gpus_as_it_asks_for_by_uuid(pool, memory):
    resolved, engine = pool.acquire(SPEC.replace(gpus=2), 0)
    assert (resolved.device, engine.gpus) == ("cuda", ("GPU-a", "GPU-b"))
    with pytest.raises(EngineError, match=r"fake needs 3 GPU\(s\), 2 visible here"):
        pool.acquire(SPEC.replace(gpus=3), 0)


class FakeClock:
    """Time that passes only by sleeping."""

    now = 0

    def now_ns(self) -> int:
        return self.now

    def sleep_until_ns(self, instant: int) -> None:
        self.now = instant


MIB = 2**20


@pytest.mark.parametrize(
    ("used", "seconds"),
    [
        ([5 * GIB], 1.0),  # nothing is freed for a second
        ([5 * GIB, 5 * GIB - 64 * MIB], 1.0),  # nor enough to matter
        ([5 * GIB] * 5 + [3 * GIB], 1.5),
        ([5 * GIB - 20 * MIB * step for step in range(40)], 4.6),  # slowly, 65 MiB in four looks, and then no more
        ([5 * GIB, 6 * GIB, 6 * GIB, 5 * GIB], 1.3),  # it grew, and was freed
    ],
)
def test_a_killed_holders_memory_is_waited_for_until_none_is_freed_for_a_second(memory, used, seconds):
    memory[:] = used
    clock = FakeClock()
    assert gpu_memory.stable(["GPU-a"], ignore, clock)
    assert clock.now / 1e9 == pytest.approx(seconds)


def test_memory_that_never_comes_to_rest_is_waited_for_half_a_minute(memory):
    memory[:] = [400 * GIB - 100 * MIB * step for step in range(1000)]
    clock = FakeClock()
    assert not gpu_memory.stable(["GPU-a"], ignore, clock)
    assert clock.now / 1e9 == pytest.approx(30.0)


def test_an_engine_that_has_just_been_built_is_no_stranger_to_the_meters_of_its_build(pool, memory, monkeypatch):
    class Guard(Recorder):
        def end(self, start_ns, end_ns):
            self.own = [engine.pid for engine in pool.running]
            return super().end(start_ns, end_ns)

    guard = Guard("rapl")
    building = replace(registry.entry("fake"), builds=lambda options: True)
    monkeypatch.setattr(registry, "entry", lambda name, **_: building)
    pool.meters = lambda gpus: MeterSet(meters=(guard,))
    _, engine = pool.acquire(SPEC, 0)
    assert guard.own == [engine.pid]
    assert pool.running == [engine]  # once, though it was known before it was the one that runs
