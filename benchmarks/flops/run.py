"""FLOPs of a request by every method, of the bundled shapes and two mixtures of experts.

    python benchmarks/flops/run.py --out DIR

Needs torch, transformers and calflops; models are made on the meta device, so that no weights take memory. Writes
DIR/flops.json; `benchmarks/evidence.py` makes the table. Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.flops.summary import goals
from benchmarks.graphwork.results import Results, versions
from pytest_lem.flops import analytic, request, throwaway
from pytest_lem.flops.architecture import read
from pytest_lem.flops.chain import answer
from pytest_lem.model.arithmetic import Coefficients
from pytest_lem.model.errors import Unavailable

PROMPT, OUTPUT = 256, 128
SHAPES = Path(__file__).resolve().parents[2] / "pytest_lem" / "engines" / "synthetic"
MIXTURES: dict[str, dict[str, Any]] = {
    "qwen3-30b-a3b": {
        "model_type": "qwen3_moe",
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "tie_word_embeddings": False,
    },
    "qwen1.5-moe-a2.7b": {
        "model_type": "qwen2_moe",
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "use_sliding_window": False,
        "tie_word_embeddings": False,
    },
}


def row(name: str, shape: Mapping[str, Any]) -> dict[str, Any]:
    """FLOPs of one request by every method, and who the chain says it is when calflops is asked."""
    found = {
        counter: throwaway.count(counter, {"shape": shape}, sys.executable, os.environ, prompt=PROMPT)
        for counter in ("counted", "calflops")
    }
    costs = {counter: throwaway.coefficients(counter, each) for counter, each in found.items()}
    parameters = found["counted"]["parameters"]
    asked = answer("calflops", shape, parameters, [(PROMPT, OUTPUT)], costs.__getitem__)
    costs["analytic"] = analytic.coefficients(read(shape))
    costs["parameters"] = Coefficients(per_token=2 * parameters, per_position=0, per_sample=0)
    return {
        "shape": name,
        "parameters": parameters,
        "answers": asked.method,
        "notes": list(asked.notes),
        "prefill": {method: request.prefill(cost, PROMPT) for method, cost in costs.items()},
        "decode": {method: request.decode(cost, PROMPT, OUTPUT) for method, cost in costs.items()},
        "eager_prefill": found["counted"]["prompt"],
        "raw": {counter: {key: each[key] for key in ("tokens", "head", "prompt")} for counter, each in found.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder for flops.json")
    asked = parser.parse_args(argv)
    results = Results(asked.out / "flops.json", "FLOPs by every method", prompt=PROMPT, output=OUTPUT)
    results.data |= {"versions": versions("torch", "transformers", "calflops"), "rows": []}
    bundled = {path.stem: json.loads(path.read_text()) for path in sorted(SHAPES.glob("*.json"))}
    for name, shape in (bundled | MIXTURES).items():
        try:
            results.data["rows"].append(row(name, shape))
        except Unavailable as error:
            results.fail(name, error)
        results.write()
        results.log(name)
    found = goals(results.data)
    print("\n".join(f"{'met' if met else 'NOT MET':8}{told}" for told, met in found))
    return 0 if found and all(met for _, met in found) and not results.errors else 1


if __name__ == "__main__":
    sys.exit(main())
