"""Two engines on one GPU that take its memory at their start: each gets the same share."""

from __future__ import annotations

import pytest

from pytest_lem.duel.shares import OPTION, shared
from pytest_lem.model.specs import EngineSpec


def vllm(share=None, device="cuda"):
    return EngineSpec(backend="vllm", device=device, options={} if share is None else {OPTION: share})


def of(specs):
    return [spec.options.get(OPTION) for spec in specs]


@pytest.mark.parametrize(
    ("a", "b", "together", "alone"),
    [
        (None, None, [0.45, 0.45], [None, None]),
        (0.3, 0.4, [0.3, 0.4], [0.3, 0.4]),
        (0.3, None, [0.3, 0.3], [0.3, 0.3]),
        (None, 0.3, [0.3, 0.3], [0.3, 0.3]),
    ],
)
def test_a_share_that_nobody_said_is_half_and_one_that_was_said_is_both_sides(a, b, together, alone):
    found = shared(vllm(a), vllm(b))
    assert (of(found.together), of(found.alone), found.crowded) == (together, alone, None)


def test_shares_that_are_more_than_there_is_say_so_before_an_engine_starts():
    found = shared(vllm(0.9), vllm())
    assert found.crowded == "gpu_memory_utilization 0.9 + 0.9 is more than there is"
    assert of(found.alone) == [0.9, 0.9]


def test_an_engine_that_takes_memory_as_it_needs_it_has_no_share():
    pytorch = EngineSpec(backend="pytorch", device="cuda")
    found = shared(vllm(), pytorch)
    assert (of(found.together), of(found.alone)) == ([0.45, None], [None, None])
    assert found.together[1] == pytorch


def test_memory_of_the_host_is_not_shared_out():
    found = shared(vllm(device="cpu"), vllm(device="cpu"))
    assert of(found.together) == [None, None]
