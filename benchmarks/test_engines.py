"""Engines side by side: the same model, prompts and lengths at growing batches.

pytest benchmarks/test_engines.py --lem-backend=pytorch,vllm --lem-model=synthetic:llama-3.2-1b
"""

import pytest


@pytest.mark.lem(
    model="synthetic:tiny",
    precision="bfloat16",
    batch=[1, 8, 32, 256],
    prompt_tokens=256,
    output_tokens=128,
    vllm={"max_model_len": 2048},
)
def test_engines(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
