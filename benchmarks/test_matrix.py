"""A deployment matrix: every precision at every batch size, one test each, one engine start a precision."""

import pytest


@pytest.mark.lem(
    model="synthetic:tiny",
    precision=["bfloat16", "float16"],
    batch=[1, 8, 32],
    prompt_tokens=256,
    output_tokens=128,
)
def test_matrix(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert lem_backend.observed["precision"] == lem_backend.spec.precision
    assert result.tokens_per_second > 0
