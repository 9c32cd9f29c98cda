"""One GPU or two: what tensor and pipeline parallelism cost or gain, in joules and in time.

    pytest benchmarks/test_parallel.py --lem-backend=vllm --lem-model=synthetic:llama-3.1-8b

Needs two GPUs; with fewer all but the first of an engine's settings fail and say so.
"""

import pytest


@pytest.mark.lem(
    backend=["vllm", "pytorch"],
    model="synthetic:tiny",
    precision="bfloat16",
    batch=[1, 32],
    prompt_tokens=256,
    output_tokens=128,
    vllm=[{"max_model_len": 2048}, {"max_model_len": 2048, "tensor_parallel_size": 2}],
    pytorch=[{}, {"tensor_parallel_size": 2}, {"pipeline_parallel_size": 2}],
)
def test_parallel(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
    assert len(lem_backend.observed["gpus"]) == lem_backend.spec.gpus
