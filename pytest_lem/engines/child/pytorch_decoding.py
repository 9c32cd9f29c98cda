"""How transformers draws tokens: every field that is asked for, none out of the model's files, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import GenerationConfig

from .faults import Refused

# What is left out of a draw by a rule of its own, unless the rule is absent or 0.
CUTS = ("min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff")
FIELDS = ("temperature", "top_p", "top_k", *CUTS, "repetition_penalty", "seed")
# Zero changes no score, so that nothing is left out.
NEUTRAL_AT_ZERO = ("presence_penalty", "frequency_penalty")


@dataclass(frozen=True)
class Manner:
    """How every call of `generate` is made: cache, compilation, assistance; `fields` are those of GenerationConfig."""

    fields: dict[str, Any] = field(default_factory=lambda: {"use_cache": True})
    assistant: Any = None

    @property
    def assisted(self) -> bool:
        """Whether tokens are drafted, so that several may come at once."""
        return self.assistant is not None or "prompt_lookup_num_tokens" in self.fields


def check_decoding(decoding: dict[str, Any]) -> None:
    """Raise Refused for what transformers cannot draw."""
    for name, asked in decoding.items():
        if name not in FIELDS and not (name in NEUTRAL_AT_ZERO and not asked):
            raise Refused(f"decoding.{name}: transformers has no such parameter; it has {', '.join(FIELDS)}")


def generation(decoding: dict[str, Any], tokens: int, manner: Manner) -> GenerationConfig:
    """Exactly `tokens` new ones: no end token exists, so none can end a request early or pad it."""
    return GenerationConfig(
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        eos_token_id=None,
        pad_token_id=0,
        **manner.fields,
        **_drawing(decoding),
    )


def _drawing(decoding: dict[str, Any]) -> dict[str, Any]:
    """The fields of a GenerationConfig; generate() would fill a `top_k` that is left open with 50."""
    drawing: dict[str, Any] = {"do_sample": bool(decoding.get("temperature"))}
    if decoding.get("repetition_penalty") is not None:
        drawing["repetition_penalty"] = decoding["repetition_penalty"]
    if drawing["do_sample"]:
        drawing |= {"temperature": decoding["temperature"], "top_p": decoding.get("top_p", 1.0)}
        drawing["top_k"] = decoding.get("top_k", 0)
        drawing |= {name: decoding[name] for name in CUTS if decoding.get(name)}
    return drawing
