"""A model's sizes as its live configuration has them, by transformers' names."""

from __future__ import annotations

from typing import Any

NAMES = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "n_inner",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "tie_word_embeddings",
    "layer_types",
    "sliding_window",
    "use_sliding_window",
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "decoder_sparse_step",
    "mlp_only_layers",
)


def architecture(text_config: Any) -> dict[str, Any]:
    """Those of `NAMES` that the configuration has: numbers, words and lists of them."""
    found = {name: getattr(text_config, name, None) for name in NAMES}
    return {
        name: list(value) if isinstance(value, (list, tuple)) else value
        for name, value in found.items()
        if _plain(value)
    }


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(each, (int, str)) for each in value)
    return isinstance(value, (bool, int, str))
