"""What prefill and decode cost apart, in groups at two batches and under traffic: both methods in one table.

    RATES=20 TRAFFIC_SECONDS=15 pytest benchmarks/test_phases.py --lem-backend=vllm --lem-model=synthetic:llama-3.1-8b

`RATES` (requests a second) and `TRAFFIC_SECONDS` (of arrivals) set the traffic: as Poisson has it, and in bursts, which
tell the phases better apart. A quarter of an hour on a GPU; `-k test_phases_of_traffic` is one half of it.
"""

import os

import pytest

RATES = [float(rate) for rate in os.environ.get("RATES", "4").split(",")]
SECONDS = float(os.environ.get("TRAFFIC_SECONDS", "6"))
POISSON, BURSTS = {"arrivals": "poisson"}, {"arrivals": "gamma", "burstiness": 0.4}
SAME = {"model": "synthetic:tiny", "precision": "bfloat16", "prompt_tokens": 512, "output_tokens": 128}


@pytest.mark.lem(**SAME, batch=[1, 32], warmup_rounds=1, warmup_seconds=2, vllm={"max_model_len": 2048})
def test_phases(lem_backend, lem_workload, lem_energy):
    found = lem_energy.phases(lem_backend, lem_workload)
    assert found.rounds > 0


@pytest.mark.lem(
    **SAME,
    batch=64,
    traffic=[{**arrivals, "qps": rate, "seconds": SECONDS} for rate in RATES for arrivals in (POISSON, BURSTS)],
    rounds=8,
    warmup_rounds=1,
    warmup_seconds=0,
    vllm={"served": True, "max_model_len": 2048},
)
def test_phases_of_traffic(lem_backend, lem_workload, lem_energy):
    found = lem_energy.phases(lem_backend, lem_workload)
    assert found.rounds > 0
