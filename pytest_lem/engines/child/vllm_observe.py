"""Read back from vLLM's live objects what it really runs with."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from typing import Any

import torch
import transformers
import vllm

from .architecture import architecture
from .libraries import versions
from .vllm_arguments import OURS, quantization, quantization_names, source_folder, version
from .vllm_values import like, lowered, plain

# A few small tensors that a model keeps in another precision do not change what it runs in.
FOREIGN_SHARE = 0.01
# Options whose name differs from that of the field which holds them.
RENAMED = {"kv_cache_dtype": "cache_dtype", "scheduling_policy": "policy"}
# vLLM renames these when it has read the model's files.
QUANTIZATION_FAMILIES = {
    "awq": "auto_awq",
    "awq_marlin": "auto_awq",
    "gptq": "auto_gptq",
    "gptq_marlin": "auto_gptq",
}


def observe(config: Any, workers: list[dict[str, Any]], request: dict[str, Any], settings: dict[str, Any]) -> Any:
    """The observed configuration: `config` is the engine's VllmConfig, `workers` what each worker told of itself.

    `settings` holds the read-back values of our own options (`served`, `compile_cache`).
    """
    first = workers[0]
    text_config = config.model_config.hf_text_config
    options = {name: _option(config, first, name, asked, request) for name, asked in request["options"].items()}
    options |= {name: settings[name] for name in OURS if name in options}
    unread = sorted(name for name, value in options.items() if value is _UNREAD)
    return {
        "precision": _precision(config, workers),
        "device": "+".join(sorted({device for worker in workers for device in worker["devices"]})),
        "gpus": sorted(worker["gpu"] for worker in workers if worker["gpu"]),
        "options": {name: value for name, value in options.items() if value is not _UNREAD},
        "unread": unread,
        "attention_class": "+".join(first["attention"]),
        "linear_methods": first["linear_methods"],
        "model_class": first["model_class"],
        "kv_cache_dtypes": first["kv_cache_dtypes"],
        "weights_bytes": _summed(workers, "weights_bytes"),
        "kv_cache_bytes": _summed(workers, "kv_cache_bytes"),
        "compilation": {"mode": first["compilation_mode"], "cudagraph_mode": first["cudagraph_mode"]},
        "engine": _engine(config),
        "architecture": architecture(text_config),
        "vocab_size": text_config.vocab_size,
        "versions": versions(
            {"vllm": vllm.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
            torch.version.cuda,
        ),
        "executable": sys.executable,
        "imported": sorted(name for name in ("pytest_lem", "pydantic", "pytest") if name in sys.modules),
    }


_UNREAD = object()


def _engine(config: Any) -> dict[str, Any]:
    """What decides how requests are batched and cached, asked for or not."""
    cache, scheduler, parallel = config.cache_config, config.scheduler_config, config.parallel_config
    told = {
        "max_model_len": config.model_config.max_model_len,
        "quantization": config.model_config.quantization,
        "enforce_eager": config.model_config.enforce_eager,
        "block_size": cache.block_size,
        "kv_cache_blocks": cache.num_gpu_blocks,
        "kv_cache_dtype": cache.cache_dtype,
        "gpu_memory_utilization": cache.gpu_memory_utilization,
        "enable_prefix_caching": cache.enable_prefix_caching,
        "enable_chunked_prefill": scheduler.enable_chunked_prefill,
        "async_scheduling": scheduler.async_scheduling,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "tensor_parallel_size": parallel.tensor_parallel_size,
        "pipeline_parallel_size": parallel.pipeline_parallel_size,
        "distributed_executor_backend": parallel.distributed_executor_backend,
        "optimization_level": config.optimization_level,
        "seed": config.model_config.seed,
    }
    return {name: plain(value) for name, value in told.items()}


def _option(config: Any, worker: dict[str, Any], name: str, asked: Any, request: dict[str, Any]) -> Any:
    """The value that `name` really has, written as it was asked; `_UNREAD` where the configuration does not keep it."""
    if name in OURS:
        return asked
    if name == "quantization":
        return _quantization(config, asked, request)
    if name == "attention_backend":
        return asked if asked in worker["attention"] else "+".join(worker["attention"])
    if name == "compilation_config":
        return like(asked, lowered(config.compilation_config, worker["compilation_mode"], worker["cudagraph_mode"]))
    field = RENAMED.get(name, name)
    for part in _parts(config):
        if field in _fields(part):
            return like(asked, getattr(part, field))
    return _UNREAD


def _quantization(config: Any, asked: str, request: dict[str, Any]) -> Any:
    synthetic = request["source"] == "synthetic"
    meant = quantization(asked, version(), quantization_names(source_folder()), synthetic=synthetic)
    found = config.model_config.quantization
    return asked if found in (meant, QUANTIZATION_FAMILIES.get(meant)) else found


def _parts(config: Any) -> list[Any]:
    """The configuration and its sections, without the draft model's, whose fields have the same names."""
    values = [getattr(config, name) for name in _fields(config) if name != "speculative_config"]
    return [config, *(value for value in values if dataclasses.is_dataclass(value))]


def _fields(part: Any) -> set[str]:
    """The names of what a section really keeps; what it only takes at its making is an attribute of its class too."""
    return {field.name for field in dataclasses.fields(part)}


def _precision(config: Any, workers: list[dict[str, Any]]) -> str:
    """The dtype that holds the weights; that of the activations where the weights are quantised."""
    if config.model_config.quantization:
        return "+".join(sorted({worker["precision"] for worker in workers}))
    held: Counter[str] = Counter()
    for worker in workers:
        held.update(worker["parameter_bytes"])
    whole = sum(held.values())
    return "+".join(name for name, size in held.most_common() if size > FOREIGN_SHARE * whole)


def _summed(workers: list[dict[str, Any]], name: str) -> int | None:
    values = [worker[name] for worker in workers]
    return None if None in values else sum(values)
