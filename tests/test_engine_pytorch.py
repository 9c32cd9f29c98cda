"""The real transformers engine on the CPU, with bundled shapes and random weights."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_starts import is_gone, killed_in_the_end, spec, started

from pytest_lem.engines.observed import check_observed
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import WorkloadSpec

pytestmark = pytest.mark.torch
SHORT, LONG = tuple(range(3, 8)), tuple(range(20, 41))


def tiny(**fields):
    options = {"num_threads": 1, **fields.pop("options", {})}
    return spec("pytorch", **{"precision": "float32", "options": options, **fields})


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """synthetic:tiny in float32, with its KV cache."""
    with started(tiny(), tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """What torch_lab.py found, and the model folder that it saved."""
    folder = tmp_path_factory.mktemp("saved")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("torch_lab.py")), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "folder": folder}


def new_tokens(engine, *prompts, output_tokens=12):
    engine.prepare(WorkloadSpec(batch=len(prompts), prompts=prompts, output_tokens=output_tokens))
    return engine.run(1).token_ids


def test_every_request_gets_exactly_the_tokens_asked_for_and_padding_never_counts(engine):
    prepared = engine.prepare(WorkloadSpec(batch=3, output_tokens=7, prompts=(SHORT, LONG)))
    result = engine.run(2)
    assert prepared.prompt_tokens == (5, 21, 5)
    assert (result.tokens, result.prompt_tokens, result.requests) == (2 * 3 * 7, 2 * 31, 6)
    assert [len(ids) for ids in result.token_ids] == [7, 7, 7]
    assert result.token_ids[0] == result.token_ids[2]
    assert result.memory == ()
    assert result.seconds > 0


def test_one_token_is_enough(engine):
    engine.prepare(WorkloadSpec(prompt_tokens=4, output_tokens=1))
    result = engine.run(3, hooks=True)
    assert result.tokens == 3
    assert [times.gaps_ms for times in result.request_times] == [(), (), ()]


def test_greedy_decoding_gives_the_same_tokens_with_and_without_the_cache(engine, tmp_path):
    with started(tiny(options={"use_cache": False}), tmp_path) as uncached:
        assert uncached.observed["options"]["use_cache"] is False
        assert new_tokens(uncached, SHORT, LONG) == new_tokens(engine, SHORT, LONG)


def test_a_short_prompt_gets_the_same_tokens_alone_and_padded_beside_a_long_one(engine):
    alone = new_tokens(engine, SHORT)
    assert new_tokens(engine, SHORT, LONG)[0] == alone[0]
    assert new_tokens(engine, LONG)[0] != alone[0]


def test_hooks_time_every_token_and_change_none(engine):
    engine.prepare(WorkloadSpec(batch=2, prompt_tokens=64, output_tokens=6))
    plain, hooked = engine.run(2), engine.run(2, hooks=True)
    assert plain.request_times == ()
    assert hooked.token_ids == plain.token_ids
    assert [(times.count, len(times.gaps_ms)) for times in hooked.request_times] == [(2, 5), (2, 5)]
    told = [each for times in hooked.request_times for each in (times.ttft_ms, *times.gaps_ms)]
    assert min(told) > 0
    assert sum(told) / 1e3 <= hooked.seconds


def test_the_observed_configuration_is_what_was_asked_and_names_what_ran(engine):
    observed = engine.observed
    assert (observed["precision"], observed["device"], observed["gpus"]) == ("float32", "cpu", [])
    assert observed["options"]["attention_implementation"] == "sdpa"
    assert observed["options"]["use_cache"] is True
    assert observed["options"]["num_threads"] == 1
    assert observed["attention_class"] == "LlamaAttention"
    assert (observed["parameters"], observed["weights_bytes"]) == (557_696, 4 * 557_696)
    assert observed["vocab_size"] == 1024
    assert observed["versions"].keys() >= {"torch", "transformers", "python", "cuda"}
    assert observed["versions"]["accelerate"] == version("accelerate")
    assert observed["imported"] == []


def test_a_text_for_a_model_without_a_tokenizer_is_refused_in_one_line(engine):
    with pytest.raises(EngineError) as caught:
        engine.prepare(WorkloadSpec(prompts=("hello",)))
    assert str(caught.value) == (
        "engine 'pytorch': prompts: text needs a tokenizer, and this model has none (synthetic models have none); "
        "give token ids, or a model with a tokenizer"
    )
    assert engine.alive


def test_more_tokens_than_the_model_has_positions_are_refused(engine):
    prompts = ((1,), (2,) * 131_000)
    with pytest.raises(EngineError) as caught:
        engine.prepare(WorkloadSpec(batch=2, prompts=prompts, output_tokens=73))
    assert str(caught.value) == (
        "engine 'pytorch': prompts: prompt 1 has 131000 tokens; prompt_tokens + output_tokens = 131073 is more than "
        "the 131072 positions of the model; ask for fewer tokens, or cut prompts by data={'max_tokens': …}"
    )
    assert engine.alive


def test_the_mixture_of_experts_runs_in_half_precision_with_eager_attention(tmp_path):
    asked = tiny(model="synthetic:tiny-moe", precision="fp16", options={"attention_implementation": "eager"})
    with started(asked, tmp_path) as moe:
        moe.prepare(WorkloadSpec(batch=2, prompt_tokens=8, output_tokens=5))
        assert moe.run(2).tokens == 20
        assert moe.observed["precision"] == "float16"
        assert moe.observed["options"]["attention_implementation"] == "eager"
        assert moe.observed["experts_implementation"]


def test_the_same_seed_makes_the_same_model_and_another_one_another(engine, tmp_path):
    wanted = new_tokens(engine, SHORT, LONG)
    for seed, same in ((0, True), (1, False)):
        with started(tiny(seed=seed), tmp_path) as other:
            assert (new_tokens(other, SHORT, LONG) == wanted) is same


def test_a_batch_that_does_not_fit_is_one_line_with_the_mend(tmp_path):
    cramped = tmp_path / "python"
    cramped.write_text(f'#!/bin/sh\nulimit -v 8000000\nexec {sys.executable} "$@"\n')
    cramped.chmod(0o755)
    asked = tiny(python=str(cramped), options={"attention_implementation": "eager"})
    with started(asked, tmp_path) as engine:
        # Eager attention wants batch x 4 heads x 4096 x 4096 scores of 4 bytes: 34 GB of the 8 GB that there are.
        engine.prepare(WorkloadSpec(batch=128, prompt_tokens=4096, output_tokens=2))
        with pytest.raises(EngineError) as caught:
            engine.run(1)
        assert caught.value.kind == "memory"
        assert str(caught.value).startswith(
            "engine 'pytorch': batch 128 with 4096 prompt and 2 output tokens a request does not fit into the "
            "machine's memory: take a smaller --lem-batch or fewer tokens (Tried to allocate "
        )
        assert not engine.alive


def test_cuda_on_a_torch_without_it_is_one_clear_line(tmp_path):
    if "+cpu" not in version("torch"):
        pytest.skip("this torch is built with CUDA")
    with pytest.raises(EngineError) as caught, started(tiny(device="cuda"), tmp_path):
        pass
    assert caught.value.kind == "usage"
    assert "device 'cuda' was asked for, but torch " in str(caught.value)
    assert "is built without CUDA; install a CUDA build of torch, or ask for device 'cpu'" in str(caught.value)


def test_an_environment_with_the_engine_and_nothing_of_ours_runs_it(tmp_path, engine):
    python = tmp_path / "other" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "other")], check=True)
    site = next((tmp_path / "other" / "lib").glob("python*/site-packages"))
    ours = ("pytest_lem", "pytest-lem", "__editable__", "pydantic", "pytest", "_pytest", "distutils-precedence")
    for package in Path(find_spec("torch").origin).parents[1].iterdir():
        if not package.name.startswith(ours) and package.suffix != ".pth":
            (site / package.name).symlink_to(package)
    found = subprocess.run([python, "-c", "import pydantic"], capture_output=True, text=True, check=False)
    assert "No module named 'pydantic'" in found.stderr
    with started(tiny(python=str(python)), tmp_path) as other:
        assert other.observed["executable"] == str(python)
        assert new_tokens(other, SHORT) == new_tokens(engine, SHORT)


def test_a_model_folder_gives_the_tokens_of_the_model_that_was_saved_there(lab, tmp_path, engine):
    with started(tiny(model=str(lab["folder"])), tmp_path) as stored:
        assert new_tokens(stored, SHORT, LONG) == new_tokens(engine, SHORT, LONG)
        with pytest.raises(EngineError, match="text needs a tokenizer, and this model has none"):
            stored.prepare(WorkloadSpec(prompts=("hello",)))


@pytest.mark.parametrize(
    ("sabotage", "words"),
    [
        ("other_precision", "precision: asked 'bfloat16', observed 'float32'"),
        ("mixed_precision", "precision: asked 'bfloat16', observed 'float32+bfloat16'"),
        ("other_attention", "attention_implementation: asked 'sdpa', observed 'eager'"),
        (
            "attention_that_is_not_what_it_says",
            "attention_implementation: asked 'sdpa', observed 'no sdpa call, though configured'",
        ),
        ("no_cache", "use_cache: asked True, observed False"),
        ("other_threads", "num_threads: asked 1, observed 2"),
    ],
)
def test_a_model_changed_behind_its_back_is_seen(lab, sabotage, words):
    assert check_observed(lab["request"], lab["sabotaged"]["nothing"]) is None
    assert check_observed(lab["request"], lab["sabotaged"][sabotage]) == f"does not run as asked: {words}"


def test_a_model_on_another_device_is_seen(lab):
    asked = {**lab["request"], "device": "cuda"}
    assert check_observed(asked, lab["sabotaged"]["nothing"]) == (
        "does not run as asked: device: asked 'cuda', observed 'cpu'"
    )


@pytest.mark.parametrize(
    ("name", "parameters", "theta"),
    [
        # The published parameter counts of the models whose shapes these are.
        ("qwen2.5-0.5b", 494_032_768, 1e6),
        ("llama-3.2-1b", 1_235_814_400, 5e5),
        ("llama-3.2-3b", 3_212_749_824, 5e5),
        ("llama-3.1-8b", 8_030_261_248, 5e5),
    ],
)
def test_a_bundled_shape_has_the_parameters_of_its_model(lab, name, parameters, theta):
    assert lab["shapes"][name]["parameters"] == parameters
    assert lab["shapes"][name]["rope"]["rope_theta"] == theta
    assert lab["shapes"][name]["rope"].get("factor") == {"llama-3.1-8b": 8.0, "qwen2.5-0.5b": None}.get(name, 32.0)


@pytest.mark.parametrize("seed", range(2))
def test_killing_the_parent_while_torch_is_imported_or_a_model_loads_leaves_no_process(tmp_path, seed):
    program = (
        "import sys; from pathlib import Path; from pytest_lem.engines import process\n"
        "from pytest_lem.engines.host import Engine; from pytest_lem.model.specs import EngineSpec\n"
        "start = process.EngineProcess.__init__\n"
        "def tell(self, *arguments):\n"
        "    start(self, *arguments); sys.stdout.write(f'{self.pid}\\n'); sys.stdout.flush()\n"
        "process.EngineProcess.__init__ = tell\n"
        f"engine = Engine.start(EngineSpec(backend='pytorch'), gpus=(), log_path=Path({str(tmp_path / 'log')!r}))\n"
        "import signal; signal.pause()\n"  # a machine may load faster than the test waits
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with killed_in_the_end(parent):
        child = int(parent.stdout.readline())
        time.sleep(random.Random(seed).uniform(0.5, 4))
        assert not is_gone(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not is_gone(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_gone(child)
