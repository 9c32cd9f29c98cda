"""TensorRT-LLM's workers as mpi4py and Open MPI start them: they come up, and none outlives its engine."""

from __future__ import annotations

import json
import os
import signal

import psutil
import pytest
import tensorrt_contract
from engine_starts import is_gone, prepare, waves

from pytest_lem.engines import registry
from pytest_lem.engines.host import Engine
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import EngineSpec

pytestmark = [pytest.mark.mpi, pytest.mark.slow]


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter that holds the stand-in and the mpi4py of this one."""
    return tensorrt_contract.interpreter(tmp_path_factory.mktemp("python"), beside="mpi4py")


@pytest.fixture
def engine(tmp_path, python, monkeypatch):
    """An engine of two GPUs, whose two workers are those of mpi4py's pool."""
    monkeypatch.setenv("FAKE_TENSORRT", json.dumps({"mpi": True}))
    monkeypatch.setenv("OMPI_MCA_rmaps_base_oversubscribe", "1")  # more processes than this machine has cores
    spec = EngineSpec(backend="tensorrt", device="cuda", gpus=2, options={"tensor_parallel_size": 2}, python=python)
    engine = Engine.start(
        registry.validate(spec), gpus=("GPU-a", "GPU-b"), log_path=tmp_path / "engine.log", start_timeout=60
    )
    try:
        yield engine
    finally:
        engine.stop()


def workers(engine: Engine) -> set[int]:
    """Open MPI's daemon and the two workers that it started, each with a process group of its own."""
    found = engine.pids() - {engine.pid}
    assert sorted(psutil.Process(pid).name() == "orted" for pid in found) == [False, False, True]
    assert len({os.getpgid(pid) for pid in (*found, engine.pid)}) == 4
    return found


def test_an_engine_of_two_gpus_answers_and_leaves_no_worker(engine):
    prepare(engine, waves([(range(4), 3)]))
    assert engine.run(1).tokens == 3
    found = workers(engine)
    engine.stop()
    assert all(map(is_gone, found))


def test_a_killed_engine_leaves_no_worker(engine):
    found = workers(engine)
    engine.kill()
    assert all(map(is_gone, found))


def test_an_engine_that_dies_leaves_no_worker(engine):
    found = workers(engine)
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"SIGKILL|is not running"):
        prepare(engine, waves([(range(4), 3)]))
    assert all(map(is_gone, found))
