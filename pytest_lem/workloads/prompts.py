"""The prompts of a workload: token ids drawn from its seed, or those that it was given."""

from __future__ import annotations

import random

from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import WorkloadSpec

Prompt = str | tuple[int, ...]


def build_prompts(workload: WorkloadSpec, vocab_size: int | None) -> tuple[Prompt, ...]:
    """One prompt a request, `workload.batch` of them; texts stay texts, for the model's tokenizer.

    Without given prompts, each request gets `prompt_tokens` ids in [0, vocab_size), all drawn from one generator
    seeded with `workload.seed`: the first prompts are the same for every batch. Given prompts repeat in order when
    there are fewer than `batch`; when there are more, the first `batch` are taken. Raises UsageError for an empty
    prompt or an id outside the vocabulary.
    """
    if workload.prompts:
        for index, prompt in enumerate(workload.prompts):
            _check(index, prompt, vocab_size)
        return tuple(workload.prompts[index % len(workload.prompts)] for index in range(workload.batch))
    if not vocab_size:
        raise UsageError("prompts: the engine does not tell its vocabulary's size; give prompts of your own")
    # random() is the one generator method whose sequence Python promises to keep, so prompts survive upgrades.
    draw = random.Random(workload.seed).random
    assert isinstance(workload.prompt_tokens, int)
    return tuple(tuple(int(draw() * vocab_size) for _ in range(workload.prompt_tokens)) for _ in range(workload.batch))


def _check(index: int, prompt: Prompt, vocab_size: int | None) -> None:
    if not prompt:
        raise UsageError(f"prompts: prompt {index} is empty; give it a text or at least one token id")
    if isinstance(prompt, str) or vocab_size is None:
        return
    strange = [token for token in prompt if not 0 <= token < vocab_size]
    if strange:
        raise UsageError(f"prompts: token id {strange[0]} of prompt {index} is not in [0, {vocab_size})")
