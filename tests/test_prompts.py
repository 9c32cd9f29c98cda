"""The prompts of a workload."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.prompts import build_prompts


def test_drawn_prompts_are_the_same_on_every_machine_and_python():
    workload = WorkloadSpec(batch=2, prompt_tokens=4, seed=7)
    assert build_prompts(workload, 1000) == ((323, 150, 650, 72), (535, 365, 57, 507))


@given(st.integers(1, 5), st.integers(1, 50), st.integers(1, 200_000), st.integers(0, 2**32))
def test_every_request_has_its_length_and_every_id_is_in_the_vocabulary(batch, length, vocabulary, seed):
    prompts = build_prompts(WorkloadSpec(batch=batch, prompt_tokens=length, seed=seed), vocabulary)
    assert [len(prompt) for prompt in prompts] == [length] * batch
    assert all(0 <= token < vocabulary for prompt in prompts for token in prompt)


def test_requests_of_one_batch_differ_and_a_larger_batch_begins_with_the_smaller_one():
    small, large = (build_prompts(WorkloadSpec(batch=batch, prompt_tokens=16), 1000) for batch in (2, 5))
    assert large[:2] == small
    assert len(set(large)) == 5


def test_another_seed_draws_other_prompts():
    assert build_prompts(WorkloadSpec(seed=1), 1000) != build_prompts(WorkloadSpec(seed=2), 1000)


def test_given_prompts_repeat_in_order_when_there_are_fewer_than_the_batch():
    workload = WorkloadSpec(batch=5, prompts=("one", (2, 2)))
    assert build_prompts(workload, 10) == ("one", (2, 2), "one", (2, 2), "one")


def test_the_first_of_the_given_prompts_are_taken_when_there_are_more_than_the_batch():
    assert build_prompts(WorkloadSpec(batch=2, prompts=("a", "b", "c")), None) == ("a", "b")


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "prompts: prompt 1 is empty"),
        ((), "prompts: prompt 1 is empty"),
        ((3, 10), r"prompts: token id 10 of prompt 1 is not in \[0, 10\)"),
        ((-1,), r"prompts: token id -1 of prompt 1 is not in \[0, 10\)"),
    ],
)
def test_a_prompt_that_cannot_be_is_told_with_its_place(prompt, words):
    with pytest.raises(UsageError, match=f"^{words}"):
        build_prompts(WorkloadSpec(prompts=((1,), prompt)), 10)


def test_drawing_needs_the_size_of_the_vocabulary():
    with pytest.raises(UsageError, match="give prompts of your own"):
        build_prompts(WorkloadSpec(), None)
