"""The arithmetic of the work that an engine was given: its FLOPs by the method that is asked, the bytes of decoding."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from pytest_lem.engines.models import locate
from pytest_lem.engines.process import child_environment
from pytest_lem.flops import reads, request, throwaway
from pytest_lem.flops.architecture import Architecture
from pytest_lem.flops.chain import Answer, Asked, answer
from pytest_lem.model.arithmetic import Arithmetic, Coefficients
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.specs import EngineSpec
from pytest_lem.workloads.work import Work

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_DRAFTED = ("prompt_lookup_num_tokens", "assistant_model", "speculative_config")


def counted(counter: throwaway.Counter, spec: EngineSpec, longest: int) -> Coefficients:
    """What one token costs in contexts up to the `longest`, counted under the engine's interpreter, once for each.

    Raises Unavailable.
    """
    if spec.options.get("gguf_file"):
        raise Unavailable("flops", f"{counter}: a GGUF file is not counted")
    source = locate(spec.model)
    return _counted(counter, source.kind, source.location, spec.python, max(longest, throwaway.SHORTEST))


@cache
def _counted(counter: throwaway.Counter, source: str, location: str, python: str | None, longest: int) -> Coefficients:
    environment = child_environment((), hide_gpus=True, other_python=python is not None)
    model = {"source": source, "location": location}
    found = throwaway.count(counter, model, python or sys.executable, environment, longest=longest)
    return throwaway.coefficients(counter, found)


def arithmetic_of(spec: EngineSpec, observed: Mapping[str, Any], work: Work, asked: Asked) -> Arithmetic:
    """The arithmetic of one pass of `work` on an engine as it was `observed`, by the chain from `asked` on.

    It is absent with its reason where no method can say it.
    """
    lengths = [(len(each.prompt), each.output_tokens) for each in work.requests]
    counts = {
        "requests": len(lengths),
        "prompt_tokens": work.prompt_tokens,
        "output_tokens": work.output_tokens,
        "decode_tokens": work.output_tokens - len(lengths),
    }
    try:
        found = _answer(spec, observed, lengths, asked)
        for each in lengths:
            request.check(found.cost, *each)
    except Unavailable as error:
        return Arithmetic(method=None, reason=error.reason, **counts)
    return Arithmetic(
        method=found.method,
        coefficients=found.cost,
        prefill_flops=sum(request.prefill(found.cost, prompt) for prompt, _ in lengths),
        decode_flops=sum(request.decode(found.cost, *each) for each in lengths),
        notes=found.notes,
        **counts,
        **_reads(found.architecture, observed, work),
    )


def _answer(spec: EngineSpec, observed: Mapping[str, Any], lengths: list[tuple[int, int]], asked: Asked) -> Answer:
    if observed.get("options", {}).get("use_cache") is False:
        raise Unavailable("flops", "without a cache every token is computed again and again")
    config = observed.get("architecture") or {}
    longest = max(prompt + output - 1 for prompt, output in lengths)
    return answer(asked, config, observed.get("parameters"), lengths, lambda counter: counted(counter, spec, longest))


def _reads(model: Architecture | None, observed: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """The steps of decoding of a pass of waves, and what they read. A wave is one batch, until its longest is done."""
    try:
        weights, width = _widths(model, observed)
        waves = _waves(observed, work)
    except Unavailable as error:
        return {"bytes_reason": error.reason}
    assert model is not None
    steps, read = 0, 0.0
    for wave in waves:
        outputs = [work.requests[place].output_tokens for place in wave]
        steps += max(outputs) - 1
        read += (max(outputs) - 1) * reads.weights_read(model, weights, len(wave), observed.get("embedding_bytes"))
    seen = sum(request.positions(len(each.prompt), each.output_tokens) for each in work.requests)
    return {"decode_steps": steps, "weights_read_bytes": read, "kv_read_bytes": seen * reads.kv_bytes(model, width)}


def _widths(model: Architecture | None, observed: Mapping[str, Any]) -> tuple[float, float]:
    """Bytes of the weights, and of a number in the cache. Raises Unavailable."""
    if model is None:
        raise Unavailable("bytes", "the model's architecture is not known")
    weights = observed.get("weights_bytes")
    if not weights:
        raise Unavailable("bytes", "the engine does not tell what its weights take")
    cache_type = str(observed.get("engine", {}).get("kv_cache_dtype") or "auto")
    if cache_type.startswith("fp8"):
        return weights, 1
    width = _BYTES.get(observed.get("precision", "") if cache_type == "auto" else cache_type)
    if width is None:
        raise Unavailable("bytes", f"the width of the cache's numbers is not known ({cache_type})")
    return weights, width


def _waves(observed: Mapping[str, Any], work: Work) -> tuple[tuple[int, ...], ...]:
    if work.submission != "waves":
        raise Unavailable("bytes", "requests come one by one: how many share a step is not known")
    if any(observed.get("options", {}).get(option) for option in _DRAFTED):
        raise Unavailable("bytes", "drafted tokens share a pass: how many steps there are is not known")
    if (observed.get("options", {}).get("data_parallel_size") or 1) > 1:
        raise Unavailable("bytes", "replicas decode side by side, each its own part of the waves")
    if len(observed.get("placement") or ()) > 1 or (observed.get("options", {}).get("pipeline_parallel_size") or 1) > 1:
        raise Unavailable("bytes", "layers on several GPUs read their weights one GPU after the other")
    most = observed.get("engine", {}).get("max_num_seqs")
    if most is not None and max(map(len, work.waves)) > most:
        raise Unavailable("bytes", f"the engine runs at most {most} requests together: how many share a step varies")
    return work.waves
