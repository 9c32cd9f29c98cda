"""Run as a program in a process of its own, so that no test process imports torch: `python flops_lab.py`.

Counts one small model of each kind that the formula knows, every other one tied, and one of another kind, which has a
window of 256, up to two lengths. Prints JSON: `known`, kind → its live configuration and counts; `windowed`, length →
counts.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from transformers import AutoConfig

import pytest_lem

PACKAGE = Path(pytest_lem.__file__).parent
CONTEXTS = (1, 64, 128)
BASE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
NONE = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
SPARSE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
GROUPED = ("gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "olmo", "olmo2", "phi", "phi3")
SHAPES = dict.fromkeys((*GROUPED, "qwen2", "qwen3", "smollm3", "starcoder2"), BASE) | {
    "gpt2": {"vocab_size": 512, "n_embd": 64, "n_layer": 2, "n_head": 4},
    "gpt_neox": {name: value for name, value in BASE.items() if name != "num_key_value_heads"},
    "mixtral": {**BASE, "num_local_experts": 8, "num_experts_per_tok": 2},
    "olmoe": {**BASE, "num_experts": 8, "num_experts_per_tok": 2},
    "qwen2_moe": {**BASE, **SPARSE, "shared_expert_intermediate_size": 96, "decoder_sparse_step": 2},
    "qwen3_moe": {**BASE, **SPARSE, "mlp_only_layers": [0]},
}

WINDOWED = {**BASE, "model_type": "cohere2", "sliding_window": 256, "layer_types": ["sliding_attention"] * 2}
LENGTHS = (256, 2000)


def main() -> None:
    child = runpy.run_path(str(PACKAGE / "flops" / "child" / "count.py"))
    seen = runpy.run_path(str(PACKAGE / "engines" / "child" / "architecture.py"))["architecture"]
    found = {}
    for number, (kind, shape) in enumerate(SHAPES.items()):
        own = {**shape, **NONE, "tie_word_embeddings": number % 2 == 0}
        request = {"method": "counted", "contexts": CONTEXTS, "shape": {"model_type": kind, **own}}
        found[kind] = {"config": seen(AutoConfig.for_model(kind, **own)), **child["count"](request)}
    windowed = {length: child["count"](up_to(length)) for length in LENGTHS}
    print(json.dumps({"known": found, "windowed": windowed}))  # noqa: T201 - what the test reads


def up_to(length: int) -> dict:
    return {"method": "counted", "contexts": (1, length // 2, length), "shape": WINDOWED}


if __name__ == "__main__":
    main()
