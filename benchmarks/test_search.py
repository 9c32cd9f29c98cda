"""The cheapest batch that keeps a service level: by search, and by measuring all of them.

    pytest benchmarks/test_search.py --lem-backend=vllm --lem-model=synthetic:llama-3.1-8b

`OBJECTIVE=tokens_per_second` where nothing measures joules, `TPOT_MS=30` for another bound.
"""

import os

import pytest

BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
OBJECTIVE = os.environ.get("OBJECTIVE", "joules_per_token")
BOUND = {"tpot_p99_ms": float(os.environ.get("TPOT_MS", "30"))}
ASKED = {
    "model": "synthetic:tiny",
    "precision": "bfloat16",
    "batch": 1,
    "prompt_tokens": 256,
    "output_tokens": 128,
    "rounds": 3,
    "warmup_rounds": 1,
    "warmup_seconds": 0,
    "vllm": {"max_model_len": 2048},
}


@pytest.mark.lem(**ASKED)
@pytest.mark.lem_search(over="batch", values=BATCHES, objective=OBJECTIVE, slo=BOUND)
def test_search(lem_backend, lem_workload, lem_energy):
    found = lem_energy.search(lem_backend, lem_workload)
    assert found.value in BATCHES


@pytest.mark.lem(**{**ASKED, "batch": BATCHES})
def test_sweep(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
