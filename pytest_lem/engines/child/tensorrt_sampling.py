"""How TensorRT-LLM draws tokens: every field that is asked for, or a refusal."""

from __future__ import annotations

from typing import Any

from tensorrt_llm import SamplingParams

from .faults import Refused

PLAIN = ("temperature", "top_p", "top_k")
# Only the C++ sampler has these: the PyTorch one would leave them out in silence.
FULL = ("min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed")
# What the documentation of the one sampler names, that is left since 1.3.0rc26: a seed is not among it.
OF_THE_ONLY_SAMPLER = (*PLAIN, "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
WITHOUT_MEANING_WHEN_GREEDY = ("top_p", "top_k", "min_p", "seed", "temperature")
NO_END = -1  # what TensorRT-LLM itself sends for a request that ignores the end


def sampling(work: dict[str, Any], index: int) -> SamplingParams:
    """The parameters of one request: exactly its number of new tokens, no text, drawn as the work says.

    Without temperature, top_p and top_k it is greedy. A seed gives each request a generator of its own, by its place.
    """
    decoding = dict(work["decoding"])
    if not decoding.get("temperature"):
        decoding = {name: value for name, value in decoding.items() if name not in WITHOUT_MEANING_WHEN_GREEDY}
    if "seed" in decoding:
        decoding["seed"] += index
    return SamplingParams(
        max_tokens=work["requests"][index]["output_tokens"],
        ignore_eos=True,
        end_id=NO_END,
        pad_id=0,
        detokenize=False,
        return_perf_metrics=True,
        **decoding,
    )


def check_sampling(decoding: dict[str, Any], args: Any, runtime: str) -> None:
    """Raise Refused for what this engine cannot draw, or would leave out in silence; `args` are its live arguments."""
    for name in decoding:
        if name not in (*PLAIN, *FULL):
            raise Refused(f"decoding.{name}: tensorrt has no such parameter; it has {', '.join((*PLAIN, *FULL))}")
    greedy = not decoding.get("temperature")
    asked = [name for name in decoding if decoding[name] and not (greedy and name in WITHOUT_MEANING_WHEN_GREEDY)]
    draws = _draws(args, runtime)
    lacking = next((name for name in asked if name not in draws), None)
    if lacking is not None:
        raise Refused(f"decoding.{lacking}: the engine's sampler has it not; {_instead(args)}")
    request = {"requests": [{"output_tokens": 1}], "decoding": decoding}
    try:
        sampling(request, 0)
    except ValueError as fault:
        raise Refused(f"decoding: tensorrt: {' '.join(str(fault).split())}") from fault


def _draws(args: Any, runtime: str) -> tuple[str, ...]:
    """What the sampler that was chosen at the start can do. 1.0's own takes the likeliest token, whatever is asked."""
    if runtime == "engine" or getattr(args, "enable_trtllm_sampler", False):
        return (*PLAIN, *FULL)
    if hasattr(args, "enable_mixed_sampler"):
        return PLAIN if args.enable_mixed_sampler else ()
    if not hasattr(args, "sampler_type"):
        return OF_THE_ONLY_SAMPLER
    return (*PLAIN, *FULL) if args.sampler_type == "TRTLLMSampler" else PLAIN


def _instead(args: Any) -> str:
    """Which other sampler the version has."""
    if hasattr(args, "enable_trtllm_sampler"):
        return "add enable_trtllm_sampler=True to tensorrt={...}"
    if hasattr(args, "sampler_type"):
        return "add sampler_type='TRTLLMSampler' to tensorrt={...}"
    return "this version has no other, so leave it out"
