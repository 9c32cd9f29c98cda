"""An engine's life as the runner lives it, with the fake engine."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import fake_engine
import psutil
import pytest
from engine_starts import arriving, closed, fake, is_gone, prepare, spec, started, waves

from pytest_lem.engines import host, process, registry
from pytest_lem.model.errors import EngineError, UsageError
from pytest_lem.model.specs import WorkloadSpec

GPU = "GPU-5c0ffee0-1111-2222-3333-444455556666"


@pytest.fixture(autouse=True)
def _fake_is_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))


def test_a_pass_gives_exact_counts_for_batch_passes_and_prompts_of_different_length(tmp_path):
    workload = WorkloadSpec(batch=3, output_tokens=4, prompts=((1, 2, 3), (7,)))
    with fake(tmp_path) as engine:
        assert engine.prepare(workload).prompt_tokens == (3, 1, 3)
        result = engine.run(5)
    assert (result.tokens, result.prompt_tokens, result.requests, result.passes) == (5 * 3 * 4, 5 * 7, 15, 5)
    assert result.token_ids == ((3, 4, 5, 6), (1, 2, 3, 4), (3, 4, 5, 6))
    assert result.texts is None
    assert result.request_times == ()


def test_work_starts_at_the_instant_that_the_parent_names_on_the_clock_they_share(tmp_path):
    with fake(tmp_path, token_seconds=0.01) as engine:
        engine.prepare(WorkloadSpec(output_tokens=3))
        asked = time.monotonic_ns() + 200_000_000
        result = engine.run(2, start_ns=asked)
        returned = time.monotonic_ns()
    assert asked <= result.start_ns <= result.end_ns <= returned
    assert result.end_ns - result.start_ns >= 2 * 3 * 10_000_000
    assert result.seconds == (result.end_ns - result.start_ns) / 1e9


def test_a_start_that_has_passed_starts_at_once(tmp_path):
    with fake(tmp_path) as engine:
        engine.prepare(WorkloadSpec())
        before = time.monotonic_ns()
        assert engine.run(1, start_ns=before - 10**9).start_ns >= before


def test_hooks_bring_every_requests_token_times(tmp_path):
    with fake(tmp_path, token_seconds=0.002) as engine:
        engine.prepare(WorkloadSpec(batch=2, output_tokens=3))
        times = engine.run(2, hooks=True).request_times
    assert [(each.ttft_ms, each.gaps_ms, each.count) for each in times] == [(2.0, (2.0, 2.0), 2)] * 2


def test_work_can_be_replaced_and_run_again(tmp_path):
    with fake(tmp_path) as engine:
        engine.prepare(WorkloadSpec(batch=1, output_tokens=2))
        assert engine.run(1).tokens == 2
        engine.prepare(WorkloadSpec(batch=4, output_tokens=3))
        assert [engine.run(passes).tokens for passes in (1, 2)] == [12, 24]


def test_texts_are_given_where_there_is_a_tokenizer(tmp_path):
    with fake(tmp_path, tokenizer=True) as engine:
        assert engine.prepare(WorkloadSpec(prompts=("two words",), output_tokens=2)).prompt_tokens == (2,)
        assert engine.run(1).texts == ("2 3",)


def test_a_text_without_a_tokenizer_is_refused_and_the_engine_lives_on(tmp_path):
    with fake(tmp_path) as engine:
        with pytest.raises(EngineError, match="text needs a tokenizer") as caught:
            engine.prepare(WorkloadSpec(prompts=("two words",)))
        assert caught.value.kind == "usage"
        engine.prepare(WorkloadSpec(output_tokens=1))
        assert engine.run(1).tokens == 1


def test_a_run_without_prepared_work_is_a_usage_error(tmp_path):
    with fake(tmp_path) as engine, pytest.raises(EngineError, match=r"run\(\) before prepare\(\)") as caught:
        engine.run(1)
    assert caught.value.kind == "usage"


def test_an_impossible_prompt_never_reaches_the_engine(tmp_path):
    with fake(tmp_path) as engine, pytest.raises(UsageError, match=r"token id 5000 .* not in \[0, 1000\)"):
        engine.prepare(WorkloadSpec(prompts=((5000,),)))


def test_progress_load_time_and_log_are_told(tmp_path):
    lines = []
    with started(spec(options={"load_seconds": 0.2}), tmp_path, on_progress=lines.append) as engine:
        assert lines == ["loading nothing"]
        assert engine.load_seconds > 0.2
        assert engine.log_path == tmp_path / "engine.log"
        assert "loading synthetic:tiny" in engine.log_path.read_text()


def test_the_engine_sees_only_the_gpus_it_was_given_named_by_uuid(tmp_path):
    engine = host.Engine.start(spec(device="cuda"), gpus=(GPU,), log_path=tmp_path / "log")
    engine.stop()
    assert engine.observed["environment"] == {"CUDA_VISIBLE_DEVICES": GPU, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert engine.gpus == (GPU,)


def test_an_engine_on_the_cpu_sees_no_gpu_whatever_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with fake(tmp_path) as engine:
        assert engine.observed["environment"]["CUDA_VISIBLE_DEVICES"] == ""
        assert engine.observed["device"] == "cpu"


def test_stop_leaves_no_process_and_no_open_pipe(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    with fake(tmp_path) as engine:
        assert engine.alive
        assert engine.pids() == {engine.pid}
    assert not engine.alive
    assert engine.pids() == set()
    assert is_gone(engine.pid)
    assert set(os.listdir("/proc/self/fd")) == before
    engine.stop()


def test_stop_also_ends_what_the_engine_started_and_left_behind(tmp_path):
    with fake(tmp_path, at="load", fault="orphan") as engine:
        pids = engine.pids()
        assert len(pids) == 2
    assert all(is_gone(pid) for pid in pids)


def crash(engine):
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"SIGKILL|is not running"):
        engine.prepare(WorkloadSpec())


@pytest.mark.parametrize("ends", [host.Engine.stop, host.Engine.kill, crash])
def test_what_an_engine_started_in_a_session_of_its_own_ends_with_it(tmp_path, ends):
    with fake(tmp_path, at="load", fault="stray") as engine:
        (stray,) = (child.pid for child in psutil.Process(engine.pid).children())
        assert os.getsid(stray) == stray
        ends(engine)
        assert is_gone(stray)


@pytest.mark.parametrize(
    "work",
    [closed(2, *[((1,), 1)] * 8), waves(*[[((1,), 1)]] * 4), arriving(*[((1,), 1, 0.0)] * 200)],
    ids=["closed loop", "waves", "open loop"],
)
def test_service_that_takes_long_in_all_is_not_taken_for_an_engine_that_hangs(tmp_path, work):
    slots = 50 if work.submission == "open" else 0  # four groups run after each other, in each of these
    with fake(tmp_path, traffic=True, token_seconds=0.6, slots=slots) as engine:
        prepare(engine, work)
        assert engine.run(1, timeout=1).seconds > 2.4 - 0.01


def test_a_group_of_requests_that_takes_too_long_is_given_up(tmp_path):
    with fake(tmp_path, traffic=True, token_seconds=3600) as engine:
        prepare(engine, closed(2, *[((1,), 1)] * 4))
        with pytest.raises(EngineError, match="did not answer in time during run, and was killed") as caught:
            engine.run(1, timeout=0.5)
    assert caught.value.kind == "timeout"


def test_an_engine_that_will_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "TERM_SECONDS", 0.2)
    impatient = replace(registry.entry("fake"), stop_seconds=0.2)
    monkeypatch.setattr(registry, "entry", lambda *_args, **_keywords: impatient)
    with fake(tmp_path, at="stop", fault="hang") as engine:
        pass
    assert is_gone(engine.pid)


def test_an_interrupted_run_can_be_stopped_without_waiting_for_its_end(tmp_path, monkeypatch):
    waits = []
    wait = process.EngineProcess.wait
    monkeypatch.setattr(
        process.EngineProcess, "wait", lambda self, seconds: waits.append(seconds) or wait(self, seconds)
    )
    with fake(tmp_path, token_seconds=3600) as engine:
        engine.prepare(WorkloadSpec(output_tokens=1))
        monkeypatch.setattr(engine._process.channel, "receive", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            engine.run(1)
    assert is_gone(engine.pid)
    assert waits == [host.TERM_SECONDS]


def _interrupt(_deadline):
    raise KeyboardInterrupt
