"""Requests as they come: what serving costs at growing rates, and where the service level breaks.

    pytest benchmarks/test_traffic.py --lem-backend=vllm --lem-model=synthetic:llama-3.1-8b

`RATES=20,60,120` (requests a second) and `TRAFFIC_SECONDS=20` (of arrivals) set the traffic; the last rate should
saturate.
"""

import os

import pytest

RATES = [float(rate) for rate in os.environ.get("RATES", "1,4,16").split(",")]
SECONDS = float(os.environ.get("TRAFFIC_SECONDS", "6"))


@pytest.mark.lem(
    model="synthetic:tiny",
    precision="bfloat16",
    prompt_tokens=256,
    output_tokens=128,
    batch=64,
    traffic=[{"arrivals": "poisson", "qps": rate, "seconds": SECONDS, "ramp_seconds": SECONDS / 10} for rate in RATES],
    slo="llama3.1-8b",
    rounds=3,
    warmup_rounds=1,
    warmup_seconds=0,
    vllm={"served": True, "max_model_len": 2048},
)
def test_traffic(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
