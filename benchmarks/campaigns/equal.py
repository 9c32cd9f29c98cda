"""Four items of equal length on two engines: what `benchmarks/campaigns/lanes.py` measures on one lane and on all.

Mostly prefill, so that the GPU is the limit and not its host. As long as their rounds: warming up until steady takes
longer the less even a host is. Two workloads an engine: a lane of two starts one engine, and starts differ most.
"""

import pytest


@pytest.mark.lem(
    backend="pytorch",
    model="synthetic:llama-3.2-1b",
    precision=["bfloat16", "float16"],
    batch=[48, 64],
    prompt_tokens=1024,
    output_tokens=4,
    rounds=19,
    round_seconds=4.0,
    warmup_rounds=2,
    warmup_seconds=2.0,
    latency=False,
)
def test_equal(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
