"""Launches of one unchanged engine: how far do they lie apart? What a gate's priors are compared with.

pytest benchmarks/test_launches.py --lem-cycles=16

Mostly prefill, so that the GPU is the limit and not its host. A change is made by a `lem.yaml` beside it:
`pytorch: {attention_implementation: eager}`.
"""

import pytest


@pytest.mark.lem(
    model="synthetic:llama-3.2-1b",
    batch=64,
    prompt_tokens=1024,
    output_tokens=4,
    rounds=8,
    round_seconds=1.0,
    warmup_rounds=2,
    warmup_seconds=2.0,
    latency=False,
)
def test_launches(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
