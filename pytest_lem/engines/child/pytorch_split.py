"""How a model may be split among ranks, by its configuration alone: asked by the parent too, before any start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

HEADS = {"num_attention_heads": "attention heads", "num_key_value_heads": "key/value heads"}


def sizes(options: Mapping[str, Any]) -> tuple[int, int]:
    """Ranks that share each layer, and stages that share the layers."""
    return int(options.get("tensor_parallel_size") or 1), int(options.get("pipeline_parallel_size") or 1)


def is_split(options: Mapping[str, Any]) -> bool:
    """Whether a rank holds a part of the model alone."""
    return sizes(options) != (1, 1)


def replicas(options: Mapping[str, Any]) -> int:
    """Ranks of which each holds all of the model."""
    return int(options.get("data_parallel_size") or 1)


def misfit(options: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Why a model of this configuration (of its text part) cannot be split as the options ask; None: it can."""
    tensor, stages = sizes(options)
    if tensor * stages > 1 and options.get("gguf_file"):
        return (
            "gguf_file: a GGUF file is not split among ranks; save the model with save_pretrained, and give its folder"
        )
    stored = config.get("quantization_config")
    if tensor * stages > 1 and isinstance(stored, Mapping):
        return (
            f"the model's files are quantised ({stored.get('quant_method')}), and a model that ranks share is not "
            "quantised here; take files that are not, or data_parallel_size"
        )
    if tensor > 1 and stages > 1:
        # transformers 5.23 looks for every layer that it would share on each stage, and fails on those of the others.
        return f"tensor_parallel_size={tensor} and pipeline_parallel_size={stages}: take one of them"
    heads = {field: config[field] for field in HEADS if isinstance(config.get(field), int)}
    for field, count in heads.items():
        if count % tensor:
            fitting = _divisors(heads.values())
            return f"tensor_parallel_size={tensor} does not divide the model's {count} {HEADS[field]}; take {fitting}"
    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and layers % stages:
        return (
            f"pipeline_parallel_size={stages} does not divide the model's {layers} layers; take {_divisors([layers])}"
        )
    kinds = sorted(set(config.get("layer_types") or ()))
    if stages > 1 and len(kinds) > 1:
        return f"pipeline_parallel_size={stages}: the model has layers of several kinds ({', '.join(kinds)}); take 1"
    return None


def _divisors(counts: Iterable[int]) -> str:
    """`1, 2 or 4`: what divides all of them."""
    found = [str(size) for size in range(1, min(counts) + 1) if not any(count % size for count in counts)]
    return " or ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
