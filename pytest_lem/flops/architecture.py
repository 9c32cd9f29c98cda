"""A model's configuration → the sizes that its FLOPs follow from; a kind of model that is not known is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_lem.model.errors import Unavailable

_DENSE = ("gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "olmo", "olmo2", "phi3", "qwen2", "qwen3")
_SPARSE = ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe")
GATED = frozenset({*_DENSE, *_SPARSE, "smollm3"})
"""Kinds of model with three matrices in each feed-forward network. All of these were held against counted FLOPs."""
PLAIN = frozenset({"gpt2", "gpt_neox", "phi", "starcoder2"})
"""Those with two."""
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""What configurations call the number of their experts."""
FULL = frozenset({"full_attention", "sliding_attention"})


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in `layers` layers: `chosen` of `count` answer a token, each `width` wide.

    `shared` is the width of what answers every token beside them (0: nothing), `gated` whether a gate of its own
    weighs that.
    """

    layers: int
    count: int
    chosen: int
    width: int
    shared: int = 0
    gated: bool = False


@dataclass(frozen=True)
class Architecture:
    """A decoder's sizes: `heads` of `head_dim`, `kv_heads` of them for keys and values, `ffn` wide in dense layers.

    `gated` feed-forward networks have three matrices, others two. `tied`: the head is the embedding. `window` is the
    longest context that every layer attends to; None: all.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    gated: bool = True
    tied: bool = False
    experts: Experts | None = None
    window: int | None = None


def read(config: Mapping[str, Any]) -> Architecture:
    """The architecture of a text model's configuration, by transformers' names.

    Raises Unavailable for a kind that is not known, for layers that do not attend, and for sizes that are missing.
    """
    kind = config.get("model_type")
    if kind not in GATED | PLAIN:
        raise Unavailable("flops", f"the FLOPs of the architecture {kind!r} are not known")
    if odd := set(config.get("layer_types") or ()) - FULL:
        raise Unavailable("flops", f"the FLOPs of layers of {', '.join(sorted(map(str, odd)))} are not known")
    layers, width, heads = (_size(config, name) for name in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    experts = _experts(config, layers)
    return Architecture(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or width // heads,
        ffn=0 if experts and experts.layers == layers else _ffn(config, width),
        vocabulary=_size(config, "vocab_size"),
        gated=kind in GATED,
        tied=bool(config.get("tie_word_embeddings")),
        experts=experts,
        window=_window(config),
    )


def _size(config: Mapping[str, Any], name: str) -> int:
    found = config.get(name)
    if not isinstance(found, int) or found < 1:
        raise Unavailable("flops", f"the model's configuration has no {name}")
    return found


def _ffn(config: Mapping[str, Any], width: int) -> int:
    if config.get("model_type") == "gpt2":
        return config.get("n_inner") or 4 * width
    return _size(config, "intermediate_size")


def _experts(config: Mapping[str, Any], layers: int) -> Experts | None:
    count = config.get("num_local_experts") or config.get("num_experts")
    if not count:
        return None
    own = config.get("model_type") in ("mixtral", "olmoe")
    dense, every = set(config.get("mlp_only_layers") or ()), config.get("decoder_sparse_step") or 1
    shared = config.get("shared_expert_intermediate_size") or 0 if config.get("model_type") == "qwen2_moe" else 0
    return Experts(
        layers=sum(index not in dense and (index + 1) % every == 0 for index in range(layers)),
        count=count,
        chosen=_size(config, "num_experts_per_tok"),
        width=_size(config, "intermediate_size" if own else "moe_intermediate_size"),
        shared=shared,
        gated=shared > 0,
    )


def _window(config: Mapping[str, Any]) -> int | None:
    types = config.get("layer_types")
    slides = "sliding_attention" in types if types else config.get("use_sliding_window") is not False
    return config.get("sliding_window") if slides else None
