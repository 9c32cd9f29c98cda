"""The PyTorch engine on several ranks of this CPU (gloo): the same tokens as one process, each rank's own part told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from engine_starts import killed_in_the_end, spec, started, waves
from engine_starts import prepare as prepare_work
from test_engine_orphans import PARENT, session, wait_gone

import pytest_lem.engines
from pytest_lem.engines import models, registry
from pytest_lem.engines.child.pytorch_split import misfit
from pytest_lem.engines.positions import check_positions
from pytest_lem.engines.protocol import PassResult
from pytest_lem.meters.registry import MeterSet
from pytest_lem.model.errors import EngineError, UsageError
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.plugin.gpus import Gpus
from pytest_lem.plugin.pool import EnginePool

pytestmark = pytest.mark.torch
SHORT, LONG = tuple(range(3, 8)), tuple(range(20, 41))
WORKLOAD = WorkloadSpec(batch=2, prompts=(SHORT, LONG), output_tokens=12)
WHOLE = 557_696  # parameters of synthetic:tiny


def split(**fields):
    options = {"num_threads": 1, **fields.pop("options", {})}
    return spec("pytorch", **{"precision": "float32", "options": options, **fields})


def tokens(asked, folder):
    with started(asked, folder) as engine:
        engine.prepare(WORKLOAD)
        return engine.run(1).token_ids


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The tokens that one process makes of WORKLOAD."""
    return tokens(split(), tmp_path_factory.mktemp("single"))


@dataclass(frozen=True)
class Life:
    """What an engine on two ranks did, from its start to the death of one of them."""

    observed: dict[str, Any]
    pids: set[int]
    runs: tuple[PassResult, ...]
    refusal: str
    death: EngineError
    left: list[int]


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """One for all tests of this module: starting it takes seconds. A rank that is aborted writes where it was."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("PYTHONFAULTHANDLER", "1")
        folder = tmp_path_factory.mktemp("two")
        engine = stack.enter_context(started(split(options={"tensor_parallel_size": 2}), folder))
        pids = engine.pids()
        engine.prepare(WORKLOAD)
        runs = [engine.run(1), engine.run(3, hooks=True)]
        with pytest.raises(EngineError) as refused:
            engine.prepare(WorkloadSpec(prompts=((2,) * 131_000,), output_tokens=73))
        prepare_work(engine, waves([(SHORT, 8), (LONG, 8)], [(SHORT, 8)], temperature=1.0, seed=7))
        runs.append(engine.run(2))
        (other,) = pids - {engine.pid}
        killer = threading.Timer(1.0, os.kill, (other, signal.SIGABRT))
        killer.start()
        with pytest.raises(EngineError) as died:
            engine.run(100_000)
        killer.join()
        return Life(engine.observed, pids, tuple(runs), str(refused.value), died.value, wait_gone(pids, 0))


def test_two_ranks_make_the_tokens_of_one_process_and_count_them_once(life, single):
    first, second, drawn = life.runs
    assert first.token_ids == second.token_ids == single
    assert (first.tokens, second.tokens, drawn.tokens) == (24, 3 * 24, 2 * 24)
    assert (first.requests, second.requests) == (2, 6)
    assert [(times.count, len(times.gaps_ms)) for times in second.request_times] == [(2, 11)] * 3
    for result in life.runs:
        assert [each.tokens for each in result.ranks] == [result.tokens] * 2


def test_what_runs_is_read_from_the_shards_of_every_rank(life):
    ranks, options = life.observed["ranks"], life.observed["options"]
    assert (options["tensor_parallel_size"], options["pipeline_parallel_size"]) == (2, 1)
    assert (life.observed["precision"], life.observed["parameters"]) == ("float32", WHOLE)
    assert life.observed["linear_layers"] == {"Linear float32": 15}
    told = [(each["rank"], each["world_size"], each["distributed_backend"], each["precision"]) for each in ranks]
    assert told == [(0, 2, "gloo", "float32"), (1, 2, "gloo", "float32")]
    assert {each["pid"] for each in ranks} == life.pids
    for each in ranks:
        assert each["shards"]["model.layers.0.self_attn.q_proj.weight"] == [[64, 128], [128, 128]]
        assert each["shards"]["model.layers.0.mlp.down_proj.weight"] == [[128, 128], [128, 256]]


def test_every_rank_tells_its_own_memory(life):
    held = [each["weights_bytes"] for each in life.observed["ranks"]]
    # Norms are whole on both ranks: two of 128 in each of two layers, and the last one.
    assert sum(held) == life.observed["weights_bytes"] == 4 * (WHOLE + 5 * 128)
    assert life.observed["embedding_bytes"] == 4 * 1024 * 128
    for result in life.runs:
        assert [each.weights_bytes for each in result.ranks] == held
        assert result.counters["weights_bytes"] == sum(held)
        assert all(each.resident_bytes > 50_000_000 for each in result.ranks)


def test_the_window_covers_the_work_of_every_rank(life):
    for result in life.runs:
        starts, ends = [each.start_ns for each in result.ranks], [each.end_ns for each in result.ranks]
        assert result.start_ns <= min(starts) < max(starts) < min(ends) < max(ends) <= result.end_ns


def test_what_one_rank_refuses_all_refuse_and_live_on(life):
    assert "prompts: prompt 0 has 131000 tokens" in life.refusal
    assert len(life.runs) == 3  # one came after it


def test_a_killed_rank_ends_the_run_with_its_log_and_no_process_left(life):
    assert str(life.death) == "engine 'pytorch': run failed: rank 1 died (signal SIGABRT)"
    assert life.death.kind == "died"
    tail = life.death.log_tail.splitlines()
    # What faulthandler writes last: the frames of a pass, and the C modules that are loaded.
    assert any("pytorch_waves.py" in line and line.endswith(" in run_pass") for line in tail)
    assert tail[-1].startswith("[rank 1] Extension modules: ")
    assert all(line.startswith("[rank 1] ") for line in tail)
    assert life.left == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"tensor_parallel_size": 3},
            "pytorch: tensor_parallel_size=3 does not divide the model's 4 attention heads; take 1 or 2",
        ),
        (
            {"tensor_parallel_size": 4},
            "pytorch: tensor_parallel_size=4 does not divide the model's 2 key/value heads; take 1 or 2",
        ),
        (
            {"pipeline_parallel_size": 4},
            "pytorch: pipeline_parallel_size=4 does not divide the model's 2 layers; take 1 or 2",
        ),
        (
            {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
            "pytorch: tensor_parallel_size=2 and pipeline_parallel_size=2: take one of them",
        ),
        ({"tensor_parallel_size": 2}, None),
        ({"pipeline_parallel_size": 2}, None),
    ],
)
def test_a_size_that_does_not_fit_the_model_is_refused_before_a_start(options, words):
    asked = split(options=options)
    if words is None:
        check_positions(asked, WORKLOAD)
        assert asked.gpus == registry.entry("pytorch").ranks(options)
        return
    with pytest.raises(UsageError) as caught:
        check_positions(asked, WORKLOAD)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("options", "config", "words"),
    [
        (
            {"pipeline_parallel_size": 2},
            {"num_hidden_layers": 4, "layer_types": ["full", "sliding"] * 2},
            "pipeline_parallel_size=2: the model has layers of several kinds (full, sliding); take 1",
        ),
        (
            {"tensor_parallel_size": 2, "gguf_file": "model.gguf"},
            {},
            "gguf_file: a GGUF file is not split among ranks; save the model with save_pretrained, and give its folder",
        ),
        (
            {"pipeline_parallel_size": 2},
            {"num_hidden_layers": 2, "quantization_config": {"quant_method": "awq", "bits": 4}},
            "the model's files are quantised (awq), and a model that ranks share is not quantised here; take files "
            "that are not, or data_parallel_size",
        ),
        ({"data_parallel_size": 2}, {"quantization_config": {"quant_method": "awq", "bits": 4}}, None),
        ({"tensor_parallel_size": 64}, {}, None),  # a hub's model: its engine tells
    ],
)
def test_what_transformers_cannot_split_is_refused(options, config, words):
    assert misfit(options, config) == words


def test_requests_that_come_over_time_are_not_shared():
    asked = split(options={"tensor_parallel_size": 2})
    with pytest.raises(UsageError) as caught:
        registry.check_workload(asked, WorkloadSpec(target_qps=5.0, requests=4))
    assert str(caught.value) == (
        "target_qps: backend 'pytorch': requests that come over time are not shared among ranks; take one, or waves of "
        "requests"
    )


def test_more_ranks_than_gpus_are_refused_with_what_is_there():
    pool = EnginePool(Gpus(("GPU-a",), 1, "pytest", print), Path(), print, print, lambda gpus: MeterSet())
    with pytest.raises(EngineError) as caught:
        pool.place(split(options={"tensor_parallel_size": 2}))
    assert str(caught.value).startswith("pytorch needs 2 GPU(s), 1 visible here ")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["synthetic:tiny", "synthetic:tiny-moe"])
def test_two_stages_share_the_layers_and_make_the_tokens_of_one_process(tmp_path, model):
    with started(split(model=model, options={"pipeline_parallel_size": 2}), tmp_path) as engine:
        engine.prepare(WORKLOAD)
        result, observed = engine.run(2), engine.observed
    assert result.token_ids == tokens(split(model=model), tmp_path)
    assert observed["options"]["pipeline_parallel_size"] == 2
    assert [each["layers"] for each in observed["ranks"]] == [[0], [1]]
    assert observed["embedding_bytes"] == 4 * 1024 * 128
    # A layer of tiny has 7 of them, one with experts attention's 4 beside stacks of experts; and there is the head.
    layers = {"synthetic:tiny": 7, "synthetic:tiny-moe": 4}[model]
    assert observed["linear_layers"] == {"Linear float32": 2 * layers + 1}
    # No weight is on both stages, so that what they hold is the model.
    assert sum(each.weights_bytes for each in result.ranks) == 4 * observed["parameters"]
    assert [each.tokens for each in result.ranks] == [2 * 24] * 2


@pytest.fixture
def three(tmp_path, monkeypatch):
    """A shape that three ranks can share, with its embedding used twice."""
    shape = json.loads((Path(pytest_lem.engines.__file__).parent / "synthetic" / "tiny.json").read_text())
    heads = {"num_attention_heads": 6, "num_key_value_heads": 3, "hidden_size": 192}
    heads |= {"num_hidden_layers": 3, "tie_word_embeddings": True}
    folder = tmp_path / "shapes"
    shutil.copytree(models.SYNTHETIC, folder)
    (folder / "three.json").write_text(json.dumps({**shape, **heads}))
    monkeypatch.setattr(models, "SYNTHETIC", folder)
    return "synthetic:three"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tensor_parallel_size", "pipeline_parallel_size"])
def test_three_ranks_make_the_tokens_of_one_process(tmp_path, three, way):
    wanted = tokens(split(model=three), tmp_path)
    with started(split(model=three, options={way: 3}), tmp_path) as engine:
        engine.prepare(WORKLOAD)
        result, observed = engine.run(1), engine.observed
    assert result.token_ids == wanted
    assert observed["options"][way] == 3
    assert [each.rank for each in result.ranks] == [0, 1, 2]
    assert result.tokens == 24


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"])
def test_the_last_of_three_ranks_that_is_killed_ends_the_others_with_its_log(tmp_path, monkeypatch, three, way):
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    with started(split(model=three, options={way: 3}), tmp_path) as engine:
        pids = engine.pids()
        engine.prepare(WorkloadSpec(batch=3, prompt_tokens=8, output_tokens=12))
        last = engine.observed["ranks"][2]["pid"]
        killer = threading.Timer(1.0, os.kill, (last, signal.SIGABRT))
        killer.start()
        with pytest.raises(EngineError) as died:
            engine.run(100_000)
        killer.join()
        left = wait_gone(pids, 0)
    assert str(died.value) == "engine 'pytorch': run failed: rank 2 died (signal SIGABRT)"
    assert all(line.startswith("[rank 2] ") for line in died.value.log_tail.splitlines())
    assert (len(pids), left) == (3, [])


@pytest.mark.slow
def test_killing_pytest_leaves_no_rank(tmp_path):
    asked = 'backend="pytorch", precision="float32"'
    program = PARENT.replace('backend="fake"', asked).replace("WorkloadSpec(output_tokens=1)", "WorkloadSpec()")
    options = {"tensor_parallel_size": 2, "num_threads": 1}
    program = program.format(options=options, log=str(tmp_path / "log")).replace("run(1,", "run(100_000,")
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with killed_in_the_end(parent):
        engine = int(parent.stdout.readline())
        while parent.stdout.readline().strip() != "running":
            pass
        pids = session(engine)
        parent.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    assert wait_gone({*pids, *session(engine)}) == []


@pytest.mark.slow
def test_a_mixture_of_experts_and_a_stored_model_are_split_too(tmp_path, single):
    moe = {"model": "synthetic:tiny-moe"}
    assert tokens(split(**moe, options={"tensor_parallel_size": 2}), tmp_path) == tokens(split(**moe), tmp_path)
    program = str(Path(__file__).with_name("torch_lab.py"))
    subprocess.run([sys.executable, program, str(tmp_path / "saved")], capture_output=True, check=True)
    for way in ("tensor_parallel_size", "pipeline_parallel_size"):
        assert tokens(split(model=str(tmp_path / "saved"), options={way: 2}), tmp_path) == single
