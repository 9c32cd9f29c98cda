"""A duel of the real PyTorch engine with itself, on the CPU: decoding without a KV cache."""

from __future__ import annotations

import pytest
from duel_lab import Ring
from engine_starts import spec

from pytest_lem.duel.sides import contestants, parse
from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec
from pytest_lem.stats import Status

pytestmark = pytest.mark.torch


def test_decoding_without_a_kv_cache_regresses_on_throughput(tmp_path):
    default = spec("pytorch", precision="float32", device="cpu", options={"num_threads": 1})
    a, b = contestants(parse("spec:pytorch.use_cache=false"), default)
    ring = Ring(
        tmp_path,
        "tokens_per_second",
        workload=WorkloadSpec(batch=4, prompt_tokens=256, output_tokens=16),
        protocol=ProtocolSpec(round_seconds=0.1, warmup_rounds=1, warmup_seconds=0, latency=False),
    )
    record = ring.fight(a.spec, b.spec)
    assert record.verdict.status is Status.REGRESSED
    assert record.verdict.estimate < -0.2
    assert (record.a.observed["options"]["use_cache"], record.b.observed["options"]["use_cache"]) == (True, False)
    assert [pair.reason for pair in record.pairs] == [None] * len(record.pairs)
    assert ring.running == []
