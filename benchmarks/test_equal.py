"""Items of equal length: what a second GPU gains. `benchmarks/campaigns/lanes.py --only speed` runs them.

    pytest benchmarks/test_equal.py -n auto --lem-cycles=2

Their time is that of their rounds, which is asked for: warming up until steady takes longer the less even a host is.
"""

import pytest


@pytest.mark.lem(
    backend="pytorch",
    model="synthetic:llama-3.2-1b",
    precision=["bfloat16", "float16"],
    batch=8,
    prompt_tokens=256,
    output_tokens=128,
    warmup_rounds=1,
    warmup_seconds=0,
    rounds=15,
    round_seconds=4,
)
def test_equal(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert lem_backend.observed["precision"] == lem_backend.spec.precision
    assert result.tokens_per_second > 0
