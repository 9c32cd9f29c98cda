"""A model's tokenizer, where it has one."""

from __future__ import annotations

from typing import Any

from .faults import Refused


class Tokenizer:
    """Turns text prompts into token ids and ids into text; without a tokenizer only ids pass."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.tokenizer, self.reason = _load(request)

    @property
    def name(self) -> str | None:
        """The class of the tokenizer, None where there is none."""
        return type(self.tokenizer).__name__ if self.tokenizer else None

    def token_ids(self, prompt: str | list[int]) -> list[int]:
        """The ids of a prompt. Raises Refused for a text that cannot be turned into any."""
        if not isinstance(prompt, str):
            return prompt
        if self.tokenizer is None:
            raise Refused(
                f"prompts: text needs a tokenizer, and this model has none ({self.reason}); "
                "give token ids, or a model with a tokenizer"
            )
        ids: list[int] = self.tokenizer(prompt)["input_ids"]
        if not ids:
            raise Refused(f"prompts: the tokenizer makes no token of {prompt!r}; give a longer text")
        return ids

    def texts(self, rows: list[list[int]]) -> list[str] | None:
        """The texts of rows of ids; None without a tokenizer."""
        if self.tokenizer is None:
            return None
        texts: list[str] = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return texts


def check_length(requests: list[dict[str, Any]], together: list[int], limit: int | None) -> None:
    """Raise Refused where requests that run together, padded to the longest, take more positions than the model has."""
    longest = max(together, key=lambda place: len(requests[place]["prompt"]))
    prompt, output = len(requests[longest]["prompt"]), max(requests[place]["output_tokens"] for place in together)
    if limit is not None and prompt + output > limit:
        raise Refused(
            f"prompts: prompt {longest} has {prompt} tokens; prompt_tokens + output_tokens = {prompt + output} is more "
            f"than the {limit} positions of the model; ask for fewer tokens, or cut prompts by data={{'max_tokens': …}}"
        )


def _load(request: dict[str, Any]) -> tuple[Any, str]:
    """The tokenizer, or None and the reason why there is none."""
    if request["source"] == "synthetic":
        return None, "synthetic models have none"
    from transformers import AutoTokenizer

    named = ("gguf_file", "revision", "trust_remote_code")
    keywords = {name: request["options"][name] for name in named if request["options"].get(name)}
    try:
        return AutoTokenizer.from_pretrained(request["location"], **keywords), ""
    except (OSError, ValueError, KeyError, ImportError) as fault:
        return None, " ".join(str(fault).split())[:200]
