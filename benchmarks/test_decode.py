"""Decoding: what a token costs at three batch sizes. Copy it, name your model, set your budget."""

import pytest


@pytest.mark.lem(model="synthetic:tiny", batch=[1, 8, 32], prompt_tokens=256, output_tokens=128)
def test_decode(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
