"""An engine that several processes share: led by the first, told apart in the log, ended all together."""

from __future__ import annotations

import os
import signal
import time

import fake_engine
import psutil
import pytest
from engine_starts import fake, is_gone, killed_in_the_end, run_once, spec
from test_engine_orphans import session, start_parent, wait_gone

from pytest_lem.engines import process
from pytest_lem.engines.child import ranks, resident
from pytest_lem.engines.host import Engine
from pytest_lem.engines.observed import check_observed, check_ranks
from pytest_lem.engines.protocol import RunReply
from pytest_lem.model.errors import EngineError
from pytest_lem.model.round import RankRun
from pytest_lem.model.specs import WorkloadSpec


@pytest.fixture(autouse=True)
def _fake_is_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))


@pytest.fixture(autouse=True)
def members(monkeypatch):
    """Every process that the test's engines were seen to have when one was ended, checked to be gone."""
    seen = set()
    reap = process.EngineProcess.reap

    def remember(self):
        seen.update(self.pids())
        return reap(self)

    monkeypatch.setattr(process.EngineProcess, "reap", remember)
    yield seen
    assert all(map(is_gone, seen))


def rank_pids(engine):
    return sorted(engine.pids() - {engine.pid})


def test_three_ranks_run_and_stop_and_leave_nothing(tmp_path):
    with fake(tmp_path, ranks=3) as engine:
        pids = engine.pids()
        engine.prepare(WorkloadSpec(batch=2, output_tokens=5))
        result = engine.run(2)
        environment = psutil.Process(rank_pids(engine)[1]).environ()
    assert len(pids) == 3
    assert result.tokens == 20
    assert [(each.rank, each.tokens) for each in result.ranks] == [(0, 20), (1, 20), (2, 20)]
    assert wait_gone(pids, 0) == []
    torchrun = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
    assert [environment[name] for name in torchrun] == ["2", "2", "3", "3", "127.0.0.1"]
    assert int(environment["MASTER_PORT"]) > 0


def test_each_rank_is_told_apart_in_the_log(tmp_path):
    with fake(tmp_path, ranks=3):
        pass
    lines = (tmp_path / "engine.log").read_text().splitlines()
    said = "fake engine: loading synthetic:tiny"
    assert sorted(lines) == sorted([said, f"[rank 1] {said}", f"[rank 2] {said}"])


def test_a_rank_with_a_gpu_of_its_own_sees_no_other_before_its_libraries_look(tmp_path):
    log = tmp_path / "engine.log"
    asked = spec(options={"ranks": 2, "gpus": 2, "own_gpu": True})
    Engine.start(asked, gpus=("GPU-b", "GPU-a"), log_path=log).stop()
    seen = [line for line in log.read_text().splitlines() if " sees " in line]
    assert sorted(seen) == ["[rank 1] fake engine: sees GPU-a", "fake engine: sees GPU-b"]


@pytest.mark.parametrize("step", ["load", "prepare", "run"])
@pytest.mark.parametrize(("fault", "words"), [("exit", "exit code 3"), ("kill", "signal SIGKILL")])
def test_a_rank_that_dies_ends_all_with_its_own_log(tmp_path, step, fault, words, members):
    error = run_once(tmp_path, ranks=3, at=step, fault=fault, fault_rank=1)
    assert str(error) == f"engine 'fake': {step} failed: rank 1 died ({words})"
    assert error.kind == "died"
    assert error.log_tail.splitlines() == [
        "[rank 1] fake engine: loading synthetic:tiny",
        f"[rank 1] fake engine: about to {fault} at {step}",
    ]
    assert len(members) >= 2


@pytest.mark.parametrize("step", ["load", "run"])
@pytest.mark.parametrize("rank", [0, 2])
def test_an_exception_names_its_rank_and_shows_its_traceback(tmp_path, step, rank):
    error = run_once(tmp_path, ranks=3, at=step, fault="raise", fault_rank=rank)
    assert str(error) == f"engine 'fake': {step} failed: rank {rank}: ValueError: the fake engine was told to fail"
    assert error.kind == ("start" if step == "load" else "died")
    assert "do_raise" in error.log_tail
    assert all(line.startswith("[rank 2] ") == (rank == 2) for line in error.log_tail.splitlines())


@pytest.fixture
def led(monkeypatch):
    """What the first rank of one (there are no others to start) tells its parent, of the failures that it hears of."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 3600)
    told = []
    led = ranks.Ranks(1, "adapter.py", told.append)
    os.close(led.listen_fd)
    led.told = told
    return led


def test_the_rank_that_died_is_told_and_not_those_that_lost_it(led):
    led.failed(0, {"kind": "died", "message": "RuntimeError: Connection closed by peer"})
    led.failed(2, {"kind": "died", "message": "RuntimeError: Connection closed by peer"})
    led.failed(1, {"kind": "died", "message": "died (signal SIGKILL)", "gone": True})
    assert led.told == [{"type": "failed", "kind": "died", "message": "rank 1 died (signal SIGKILL)", "rank": 1}]


def test_a_rank_that_is_out_of_memory_is_named(tmp_path):
    error = run_once(tmp_path, ranks=2, at="run", fault="memory", fault_rank=1)
    assert error.kind == "memory"
    assert str(error).endswith("take a smaller --lem-batch or fewer tokens (rank 1: the fake device is full)")


def test_what_one_rank_refuses_and_another_does_ends_the_engine(tmp_path):
    for rank, words in ((0, "rank 0: RuntimeError: refused what"), (1, "rank 0: RuntimeError: did what another rank")):
        error = run_once(tmp_path, ranks=2, at="prepare", fault="refuse", fault_rank=rank)
        assert words in str(error)


def test_a_rank_that_dies_between_two_runs_is_told_at_the_next(tmp_path):
    with fake(tmp_path, ranks=2) as engine:
        engine.prepare(WorkloadSpec(output_tokens=2))
        assert engine.run(1).tokens == 2
        os.kill(rank_pids(engine)[0], signal.SIGKILL)
        time.sleep(0.3)
        with pytest.raises(EngineError, match=r"run failed: rank 1 died \(signal SIGKILL\)"):
            engine.run(1)


def test_the_death_of_the_first_rank_ends_the_others_and_is_told_with_its_own_log(tmp_path):
    error = run_once(tmp_path, ranks=3, at="run", fault="kill")
    assert str(error) == "engine 'fake': rank 0 died during run (signal SIGKILL)"
    assert error.kind == "died"
    # The others wrote that they load, too.
    assert error.log_tail.splitlines() == [
        "fake engine: loading synthetic:tiny",
        "fake engine: about to kill at run",
    ]


def test_a_first_rank_that_dies_between_two_runs_is_told_at_the_next(tmp_path):
    with fake(tmp_path, ranks=2) as engine:
        engine.prepare(WorkloadSpec(output_tokens=2))
        os.kill(engine.pid, signal.SIGKILL)
        time.sleep(0.3)
        with pytest.raises(EngineError) as error:
            engine.run(1)
    assert str(error.value) == "engine 'fake': rank 0 is not running any more (run was asked) (signal SIGKILL)"


def test_a_rank_that_hangs_is_killed_when_the_time_is_up(tmp_path):
    error = run_once(tmp_path, ranks=2, timeout=1.5, at="run", fault="hang", fault_rank=1)
    assert str(error) == "engine 'fake' did not answer in time during run, and was killed"


def test_killing_the_parent_leaves_no_rank(tmp_path):
    parent, engine = start_parent(tmp_path / "parent", {"ranks": 3, "token_seconds": 3600})
    with killed_in_the_end(parent):
        while parent.stdout.readline().strip() != "running":
            pass
        pids = session(engine)
        parent.send_signal(signal.SIGKILL)
    assert len(pids) == 3
    assert wait_gone({*pids, *session(engine)}) == []


def test_the_peak_of_a_ranks_memory_is_that_of_the_round():
    big = b"x" * 200_000_000
    before = resident.peak_bytes()
    del big
    assert resident.forget_peak()
    assert resident.peak_bytes() < before - 100_000_000


def a_reply(*ranks):
    return RunReply(start_ns=10, end_ns=20, tokens=8, token_ids=((1,) * 8,), ranks=ranks)


def a_rank(rank, **changes):
    return RankRun(
        **{"device": "cpu", "start_ns": 11, "end_ns": 19, "tokens": 8, "weights_bytes": 4, **changes}, rank=rank
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ((a_rank(0), a_rank(1)), None),
        ((a_rank(0),), "ranks: asked [0, 1], observed [0]"),
        ((a_rank(0), a_rank(0)), "ranks: asked [0, 1], observed [0, 0]"),
        ((a_rank(0), a_rank(1, tokens=4)), "rank 1 made 4 tokens, and rank 0 8: all of them make all"),
        ((a_rank(0), a_rank(1, end_ns=21)), "rank 1 did not do its work inside of the window"),
        ((a_rank(0, tokens=5, requests=2), a_rank(1, tokens=3, requests=1)), None),
        ((a_rank(0, requests=2), a_rank(1, requests=1)), "replicas made 8 + 8 tokens, and the run 8"),
        ((a_rank(0, start_ns=9), a_rank(1)), "rank 0 did not do its work inside of the window"),
    ],
)
def test_ranks_that_did_not_share_the_work_are_seen(told, words):
    assert check_ranks(a_reply(*told), 2) == words


def test_a_rank_that_does_not_run_is_seen():
    asked = {"precision": "float32", "device": "cpu", "gpus": (), "options": {}, "ranks": 2}
    observed = {"precision": "float32", "device": "cpu", "options": {}, "ranks": [{"rank": 0}, {"rank": 1}]}
    assert check_observed(asked, observed) is None
    assert check_observed(asked, {**observed, "ranks": [{"rank": 0}]}) == (
        "does not run as asked: ranks: asked [0, 1], observed [0]"
    )


def test_an_engine_of_one_process_is_told_of_no_ranks(tmp_path):
    with fake(tmp_path) as engine:
        engine.prepare(WorkloadSpec(output_tokens=2))
        assert engine.run(1).ranks == ()
        assert engine.pids() == {engine.pid}
