"""What prefill and decode cost apart, at two batches.

pytest benchmarks/test_phases.py --lem-backend=vllm --lem-model=synthetic:llama-3.1-8b
"""

import pytest


@pytest.mark.lem(
    model="synthetic:tiny",
    precision="bfloat16",
    batch=[1, 32],
    prompt_tokens=512,
    output_tokens=128,
    warmup_rounds=1,
    warmup_seconds=2,
    vllm={"max_model_len": 2048},
)
def test_phases(lem_backend, lem_workload, lem_energy):
    found = lem_energy.phases(lem_backend, lem_workload)
    assert found.rounds > 0
