"""Prefill: long prompts, one new token; what reading a prompt costs."""

import pytest


@pytest.mark.lem(model="synthetic:tiny", batch=[1, 8], prompt_tokens=1024, output_tokens=1)
def test_prefill(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.total_tokens_per_second > 0
