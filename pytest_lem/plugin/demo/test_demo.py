"""The built-in benchmark of `pytest --lem-demo`: a tiny model, a first table."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.lem(
    model="synthetic:tiny", backend="pytorch", precision="float32", batch=[1, 8], prompt_tokens=64, output_tokens=16
)
def test_decode(lem_backend: Any, lem_workload: Any, lem_energy: Any) -> None:
    """How much faster, and cheaper, does a batch of eight decode than one request alone?"""
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
