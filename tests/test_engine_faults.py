"""Every way an engine can fail, at every step: one line that says which, the log's tail, and no process left."""

from __future__ import annotations

import fake_engine
import pytest
from engine_starts import fake, is_gone, run_once, spec

from pytest_lem.engines import process
from pytest_lem.engines.host import Engine
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import WorkloadSpec

STEPS = ("load", "prepare", "run")


@pytest.fixture(autouse=True)
def _fake_is_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))


@pytest.fixture(autouse=True)
def reaped(monkeypatch):
    """Every engine process that the test started, checked to be gone at its end."""
    pids = []
    start = process.EngineProcess.__init__

    def remember(self, *arguments):
        start(self, *arguments)
        pids.append(self.pid)

    monkeypatch.setattr(process.EngineProcess, "__init__", remember)
    yield pids
    assert pids
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("fault", "words"), [("exit", "exit code 3"), ("kill", "signal SIGKILL")])
def test_a_death_is_told_with_its_step_its_exit_and_the_end_of_the_log(tmp_path, step, fault, words):
    error = run_once(tmp_path, at=step, fault=fault)
    assert str(error) == f"engine 'fake' died during {step} ({words})"
    assert error.kind == "died"
    assert error.log_tail.endswith(f"fake engine: about to {fault} at {step}")


@pytest.mark.parametrize("step", STEPS)
def test_an_exception_is_told_with_its_type_and_its_traceback_is_in_the_log(tmp_path, step):
    error = run_once(tmp_path, at=step, fault="raise")
    assert str(error) == f"engine 'fake': {step} failed: ValueError: the fake engine was told to fail"
    assert error.kind == ("start" if step == "load" else "died")
    assert "Traceback" in error.log_tail
    assert "do_raise" in error.log_tail


@pytest.mark.parametrize("step", STEPS)
def test_an_engine_that_hangs_is_killed_when_its_time_is_up(tmp_path, step):
    error = run_once(tmp_path, timeout=1.0, at=step, fault="hang")
    after = " after 1 s" if step == "load" else ""
    assert str(error) == f"engine 'fake' did not answer in time during {step}, and was killed{after}"
    assert error.kind == "timeout"
    assert "fake engine: loading synthetic:tiny" in error.log_tail


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("fault", "words"),
    [("garbage", "wrote what is no message"), ("unknown", "wrote what is no message"), ("late", "out of turn")],
)
def test_an_answer_that_is_none_is_a_protocol_error(tmp_path, step, fault, words):
    error = run_once(tmp_path, at=step, fault=fault)
    assert words in str(error)
    assert step in str(error)
    assert error.kind == "protocol"


def test_a_model_that_does_not_fit_names_the_model_and_the_mend(tmp_path):
    error = run_once(tmp_path, at="load", fault="memory")
    assert error.kind == "memory"
    assert str(error) == (
        "engine 'fake': model 'synthetic:tiny' in bfloat16 does not fit into the machine's memory: "
        "take a smaller --lem-model or --lem-precision (the fake device is full)"
    )


@pytest.mark.parametrize("step", ["prepare", "run"])
def test_a_batch_that_does_not_fit_names_the_batch_and_the_mend(tmp_path, step):
    workload = WorkloadSpec(batch=64, prompt_tokens=11, output_tokens=5)
    error = run_once(tmp_path, workload, at=step, fault="memory")
    assert error.kind == "memory"
    assert str(error) == (
        "engine 'fake': batch 64 with 11 prompt and 5 output tokens a request does not fit into the machine's memory: "
        "take a smaller --lem-batch or fewer tokens (the fake device is full)"
    )


def test_an_engine_out_of_memory_is_not_used_again(tmp_path):
    with fake(tmp_path, at="run", fault="memory") as engine:
        engine.prepare(WorkloadSpec())
        with pytest.raises(EngineError):
            engine.run(1)
        assert not engine.alive
        with pytest.raises(EngineError, match="is not running any more") as caught:
            engine.run(1)
        assert caught.value.kind == "died"


def test_an_engine_that_dies_between_two_runs_is_told_at_the_next(tmp_path):
    with fake(tmp_path, at="run", fault="kill", fault_after=2) as engine:
        engine.prepare(WorkloadSpec(output_tokens=2))
        assert [engine.run(1).tokens, engine.run(1).tokens] == [2, 2]
        with pytest.raises(EngineError, match=r"died during run \(signal SIGKILL\)"):
            engine.run(1)


def test_a_dead_engine_is_noticed_though_its_own_child_holds_the_pipe_open(tmp_path):
    error = run_once(tmp_path, at="run", fault="fork_and_die")
    assert str(error) == "engine 'fake' died during run (exit code 4)"


@pytest.mark.parametrize("missing", [1, 3])
def test_too_few_tokens_is_an_error_with_both_counts(tmp_path, missing):
    error = run_once(tmp_path, WorkloadSpec(batch=2, output_tokens=8), missing_tokens=missing)
    assert error.kind == "mismatch"
    assert str(error) == f"engine 'fake' output tokens: asked 16 (1 passes), observed {2 * (8 - missing)}"


def test_token_times_that_are_missing_are_an_error(tmp_path):
    error = run_once(tmp_path, WorkloadSpec(batch=2), missing_times=True)
    assert str(error) == "engine 'fake' token times: asked for 2 requests, observed 0"


def test_an_interpreter_that_cannot_be_run_is_told_by_its_option(tmp_path, reaped):
    with fake(tmp_path):
        pass  # so that the fixture has seen an engine
    script = tmp_path / "no-python"
    script.write_text("not executable")
    with pytest.raises(EngineError, match=r"--lem-python fake=.*no-python: cannot be run"):
        Engine.start(spec().replace(python=str(script)), gpus=(), log_path=tmp_path / "log")
