"""The prompts of a workload: token ids drawn from its seed, or those that it was given."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.lengths import build_lengths

Prompt = str | tuple[int, ...]


def build_prompts(workload: WorkloadSpec, vocab_size: int | None, count: int | None = None) -> tuple[Prompt, ...]:
    """One prompt a request, `count` of them (None: `workload.batch`); texts stay texts, for the model's tokenizer.

    Without given prompts, each request gets its `prompt_tokens` ids in [0, vocab_size), all drawn from one generator
    seeded with `workload.seed`: with one length the first prompts are the same for every count. Given prompts repeat in
    order when there are too few; of too many the first are taken. Raises UsageError for an empty prompt or an id
    outside the vocabulary.
    """
    count = workload.batch if count is None else count
    if workload.prompts:
        for index, prompt in enumerate(workload.prompts):
            check_prompt(index, prompt, vocab_size)
        return tuple(workload.prompts[index % len(workload.prompts)] for index in range(count))
    return drawn_prompts(prompt_lengths(workload, count), vocab_size, workload.seed)


def prompt_lengths(workload: WorkloadSpec, count: int) -> list[int]:
    """How long prompts are that are drawn."""
    return build_lengths(workload.prompt_tokens, count, f"prompt lengths {workload.seed}", "prompt_tokens")


def drawn_prompts(lengths: Sequence[int], vocab_size: int | None, seed: int) -> tuple[tuple[int, ...], ...]:
    """Prompts of these lengths, of token ids drawn from `seed`. Raises UsageError without a vocabulary's size."""
    if not vocab_size:
        raise UsageError("prompts: the engine does not tell its vocabulary's size; give prompts of your own")
    # random() is the one generator method whose sequence Python promises to keep, so prompts survive upgrades.
    draw = random.Random(seed).random
    return tuple(tuple(int(draw() * vocab_size) for _ in range(length)) for length in lengths)


def check_prompt(index: int, prompt: Prompt, vocab_size: int | None) -> None:
    """Raise UsageError for an empty prompt, or an id outside the vocabulary."""
    if not prompt:
        raise UsageError(f"prompts: prompt {index} is empty; give it a text or at least one token id")
    if isinstance(prompt, str) or vocab_size is None:
        return
    strange = [token for token in prompt if not 0 <= token < vocab_size]
    if strange:
        raise UsageError(f"prompts: token id {strange[0]} of prompt {index} is not in [0, {vocab_size})")
