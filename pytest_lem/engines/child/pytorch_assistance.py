"""Assisted generation: who drafts tokens, and how many of its drafts the model takes."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig

from . import pytorch_model
from .faults import Refused
from .pytorch_quantization import check_quantization


class Drafts:
    """Counts drafted and accepted tokens of a model's `generate`, by the object that transformers drafts with.

    Where transformers has no such object, nothing is counted, and `counters` is empty.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._make = getattr(model, "_get_candidate_generator", None)
        if self._make is not None:
            model._get_candidate_generator = self._watched
        self.forget()

    def forget(self) -> None:
        """Forget the last run: how many tokens were drafted, and how many at a time at the most."""
        self.drafted = self.longest = 0
        self._accepted: list[Any] = []
        self.facts: dict[str, Any] = {}

    def _watched(self, *args: Any, **kwargs: Any) -> Any:
        assert self._make is not None
        generator = self._make(*args, **kwargs)
        self.facts = {name: getattr(generator, name, None) for name in ("num_output_tokens", "num_assistant_tokens")}
        self.facts["assistant"] = getattr(generator, "assistant_model", None)
        draft, learn = generator.get_candidates, generator.update_candidate_strategy

        def get_candidates(input_ids: Any, *args: Any, **kwargs: Any) -> Any:
            found = draft(input_ids, *args, **kwargs)
            length = found[0].shape[1] - input_ids.shape[1]
            self.drafted += length
            self.longest = max(self.longest, length)
            return found

        def update_candidate_strategy(input_ids: Any, scores: Any, num_matches: Any) -> Any:
            # A tensor in some versions: adding it up here would wait for the device.
            self._accepted.append(num_matches)
            return learn(input_ids, scores, num_matches)

        generator.get_candidates, generator.update_candidate_strategy = get_candidates, update_candidate_strategy
        return generator

    def counters(self) -> dict[str, float]:
        """`draft_tokens` and `accepted_tokens` since the last run was forgotten."""
        if self._make is None:
            return {}
        return {"draft_tokens": self.drafted, "accepted_tokens": sum(map(int, self._accepted))}


def load_assistant(request: dict[str, Any], model_config: Any, device: Any) -> Any:
    """The model that drafts, in the same precision on the same device, or None.

    Raises Refused, before any weights are made, for one whose tokens are others, or whose files cannot be read here.
    """
    options = request["options"]
    name = options.get("assistant_model")
    if not name:
        return None
    asked = {**request, **pytorch_model.source_of(name), "model": name, "options": {}}
    config = pytorch_model.model_config(asked)
    theirs = config.get_text_config().vocab_size
    ours = model_config.get_text_config().vocab_size
    if theirs != ours:
        raise Refused(
            f"pytorch: assistant_model={name!r} has a vocabulary of {theirs} tokens, the model {ours}; "
            "take one with the same tokenizer"
        )
    check_quantization(asked, config, device, "the assistant's")
    assistant = pytorch_model.load_model(asked, device)
    assistant.generation_config = _drafting(options.get("num_assistant_tokens"))
    return assistant


def _drafting(count: int | None) -> GenerationConfig:
    """Drafts of as many tokens each, or of transformers' own number.

    By its defaults it would end a draft at a token that the assistant is not sure of, and learn from each answer how
    sure is sure enough: what a round drafts would depend on the rounds before.
    """
    return GenerationConfig(
        num_assistant_tokens=count, num_assistant_tokens_schedule="constant", assistant_confidence_threshold=0.0
    )
