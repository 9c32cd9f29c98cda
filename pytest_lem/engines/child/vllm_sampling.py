"""How vLLM draws tokens: every field that is asked for, none out of the model's files, or a refusal."""

from __future__ import annotations

from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from .faults import Refused

FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)
# The likeliest token is the same whatever is cut off below it: vLLM lets go of these.
WITHOUT_MEANING_WHEN_GREEDY = ("top_p", "top_k", "min_p", "seed")


def sampling(work: dict[str, Any], index: int, kind: RequestOutputKind) -> SamplingParams:
    """The parameters of one request: exactly its number of new tokens, no text, drawn as the work says.

    A seed gives each request a generator of its own, by its place, so that equal prompts get different answers.
    """
    decoding = dict(work["decoding"])
    if "seed" in decoding:
        decoding["seed"] += index
    return SamplingParams(
        max_tokens=work["requests"][index]["output_tokens"],
        ignore_eos=True,
        detokenize=False,
        output_kind=kind,
        **{"temperature": 0.0, **decoding},
    )


def check_sampling(decoding: dict[str, Any], *, speculative: bool) -> None:
    """Raise Refused for what this vLLM cannot draw, or would change in silence."""
    for name in decoding:
        if name not in FIELDS:
            raise Refused(f"decoding.{name}: vllm has no such parameter; it has {', '.join(FIELDS)}")
    if speculative and decoding.get("min_p"):
        raise Refused("decoding.min_p: vllm does not draw so beside speculative_config; leave one of them out")
    request = {"requests": [{"output_tokens": 1}], "decoding": decoding}
    try:
        made = sampling(request, 0, RequestOutputKind.FINAL_ONLY)
    except Exception as fault:  # its class is another one in each version
        raise Refused(f"decoding: vllm: {' '.join(str(fault).split())}") from fault
    greedy = not decoding.get("temperature")
    for name, asked in decoding.items():
        if not (greedy and name in WITHOUT_MEANING_WHEN_GREEDY) and getattr(made, name) != asked:
            raise Refused(f"decoding.{name}={asked}: vllm would take {getattr(made, name)}; ask for that")
