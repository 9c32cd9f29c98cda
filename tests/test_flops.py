"""FLOPs of requests by the formula, who answers where several are asked, and what GPUs can do at most."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_lem.engines
from pytest_lem.engines.child.architecture import architecture
from pytest_lem.flops import reads, request, throwaway
from pytest_lem.flops.analytic import coefficients, expert_weights, head_weights, layer_weights
from pytest_lem.flops.architecture import Architecture, Experts, read
from pytest_lem.flops.chain import answer
from pytest_lem.flops.peaks import BOARDS, peaks_of
from pytest_lem.flops.products import multiplied_in
from pytest_lem.model.arithmetic import Coefficients
from pytest_lem.model.errors import Unavailable

SHAPES = Path(pytest_lem.engines.__file__).parent / "synthetic"
EXPERTS = st.builds(
    Experts,
    layers=st.just(1),
    count=st.integers(2, 16),
    chosen=st.integers(1, 2),
    width=st.integers(1, 64),
    shared=st.integers(0, 64),
    gated=st.booleans(),
)
MODELS = st.builds(
    Architecture,
    layers=st.integers(1, 8),
    width=st.integers(1, 64),
    heads=st.integers(1, 8),
    kv_heads=st.integers(1, 8),
    head_dim=st.integers(1, 32),
    ffn=st.integers(1, 128),
    vocabulary=st.integers(1, 512),
    gated=st.booleans(),
    tied=st.booleans(),
    experts=st.none() | EXPERTS,
)
LENGTHS = st.integers(1, 400)


def shape(name: str) -> dict:
    return json.loads((SHAPES / f"{name}.json").read_text())


@given(MODELS, LENGTHS, LENGTHS)
def test_a_request_is_its_prefill_and_its_decoding_and_each_is_the_sum_of_its_tokens(model, prompt, output):
    cost = coefficients(model)
    of_prompt = sum(request.token(cost, place, sampled=place == prompt) for place in range(1, prompt + 1))
    of_answer = sum(request.token(cost, prompt + step, sampled=True) for step in range(1, output))
    assert request.prefill(cost, prompt) == of_prompt
    assert request.decode(cost, prompt, output) == of_answer
    assert request.whole(cost, prompt, output) == of_prompt + of_answer


@given(MODELS, LENGTHS, LENGTHS)
def test_longer_requests_and_larger_models_never_take_less(model, prompt, output):
    cost = coefficients(model)
    now = request.whole(cost, prompt, output)
    assert request.whole(cost, prompt + 1, output) > now
    assert request.whole(cost, prompt, output + 1) > now
    for name in ("layers", "width", "heads", "kv_heads", "head_dim", "vocabulary"):
        larger = Architecture(**{**vars(model), name: getattr(model, name) + 1})
        assert request.whole(coefficients(larger), prompt, output) > now, name


@given(MODELS)
def test_a_head_that_is_tied_to_the_embedding_takes_as_many(model):
    tied, untied = (Architecture(**{**vars(model), "tied": tied}) for tied in (True, False))
    assert coefficients(tied) == coefficients(untied)


def test_llama_8b_by_hand():
    cost = coefficients(read(shape("llama-3.1-8b")))
    attention = 2 * 4096 * (32 + 2 * 8) * 128 + 2 * 32 * 128 * 4096
    assert cost.per_token == 32 * (attention + 6 * 4096 * 14336)
    assert cost.per_position == 4 * 32 * 128 * 32
    assert cost.per_sample == 2 * 4096 * 128256


def test_a_mixture_takes_the_chosen_and_shared_experts_and_its_router():
    moe = {
        **shape("tiny-moe"),
        "model_type": "qwen2_moe",
        "shared_expert_intermediate_size": 96,
        "decoder_sparse_step": 2,
    }
    cost = coefficients(read(moe))
    attention = 2 * 128 * (4 + 2 * 2) * 32 + 2 * 4 * 32 * 128
    dense = 6 * 128 * 256
    sparse = 2 * (6 * 128 * 64) + 2 * 128 * 8 + 6 * 128 * 96 + 2 * 128
    assert cost.per_token == 2 * attention + dense + sparse


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "mamba"}, "the FLOPs of the architecture 'mamba' are not known"),
        ({"model_type": "llama"}, "the model's configuration has no num_hidden_layers"),
        ({"model_type": "qwen3", "layer_types": ["linear_attention"]}, "the FLOPs of layers of linear_attention are"),
        ({}, "the FLOPs of the architecture None are not known"),
    ],
)
def test_what_is_not_known_is_refused_with_its_reason(config, reason):
    with pytest.raises(Unavailable) as error:
        read(config)
    assert error.value.reason.startswith(reason)


def test_a_request_beyond_a_sliding_window_is_refused():
    cost = coefficients(read({**shape("tiny"), "model_type": "mistral", "sliding_window": 64}))
    request.check(cost, 33, 32)
    with pytest.raises(Unavailable, match="longer than the model's window of 64"):
        request.check(cost, 34, 32)


TINY = coefficients(read(shape("tiny")))
WORK = [(64, 16), (32, 8)]


def scaled(by: float) -> Coefficients:
    return Coefficients(**{name: value and by * value for name, value in TINY.model_dump().items()})


def never(counter):
    raise AssertionError("nobody asked to count")


def test_what_nobody_asked_for_starts_no_process():
    found = answer("analytic", shape("tiny"), None, WORK, never)
    assert (found.method, found.cost, found.notes) == ("analytic", TINY, ())


@pytest.mark.parametrize(
    ("share", "method"), [(1.019, "calflops"), (0.981, "calflops"), (1.021, "analytic"), (0.979, "analytic")]
)
def test_calflops_answers_where_it_agrees_within_two_percent(share, method):
    found = answer("calflops", shape("tiny"), None, WORK, lambda counter: scaled(share))
    assert (found.method, found.cost) == (method, scaled(share) if method == "calflops" else TINY)


def test_calflops_that_is_off_is_named_with_both_numbers_and_the_formula_answers():
    found = answer("calflops", shape("tiny"), None, WORK, lambda counter: scaled(0.74))
    assert (found.method, found.cost) == ("analytic", TINY)
    total = sum(request.whole(TINY, *each) for each in WORK)
    (note,) = found.notes
    assert note == f"calflops says {0.74 * total:.4g} FLOPs a pass, 26.0 % below the analytic {total:.4g}"


def test_an_unknown_architecture_is_counted_and_calflops_is_not_trusted_alone():
    found = answer("calflops", {"model_type": "new"}, 100, WORK, lambda counter: TINY)
    assert (found.method, found.cost) == ("counted", TINY)
    assert "no analytic number holds it to account" in found.notes[1]


def test_twice_the_parameters_is_the_last_resort():
    found = answer("analytic", {"model_type": "new"}, 100, WORK, never)
    assert (found.method, request.whole(found.cost, 10, 5)) == ("parameters", 2 * 100 * (10 + 5 - 1))
    with pytest.raises(Unavailable) as error:
        answer("analytic", {}, None, WORK, never)
    assert error.value.reason == (
        "the engine does not tell the model's architecture; the engine does not tell how many parameters the model has"
    )


@pytest.mark.parametrize("name", ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"])
def test_of_an_unknown_mixture_twice_all_parameters_is_no_answer_and_who_has_one_is_named(name):
    """A token of a gpt_oss of 20.9 billion parameters meets 3.6 billion of them."""
    mixture = architecture(SimpleNamespace(model_type="new", **{name: 32}))
    with pytest.raises(Unavailable) as error:
        answer("analytic", mixture, 20_900_000_000, WORK, never)
    unknown = "the FLOPs of the architecture 'new' are not known"
    unmet = "of a mixture of experts a token does not meet every parameter"
    assert error.value.reason == f"{unknown}; {unmet}; --lem-flops=counted has torch count them"
    assert answer("counted", mixture, 20_900_000_000, WORK, lambda counter: TINY).cost == TINY

    def broken(counter):
        raise Unavailable("flops", "counted: TimeoutExpired")

    with pytest.raises(Unavailable) as error:
        answer("counted", mixture, 20_900_000_000, WORK, broken)
    assert error.value.reason == f"{unknown}; counted: TimeoutExpired; {unmet}"


def test_counts_that_do_not_grow_evenly_with_the_context_are_refused():
    found = {"contexts": [1, 64, 128], "tokens": [110, 110 + 63 * 10, 110 + 127 * 10], "head": 40}
    straight = throwaway.coefficients("counted", found)
    assert straight == Coefficients(per_token=60, per_position=10, per_sample=40, positions=128)
    with pytest.raises(Unavailable, match="counted: FLOPs do not grow evenly with the context up to 128 tokens"):
        throwaway.coefficients("counted", {**found, "tokens": [110, 900, 110 + 127 * 10]})


def test_a_step_reads_all_weights_but_the_rows_of_an_embedding():
    model = read(shape("llama-3.1-8b"))
    stored = layer_weights(model) + 2 * head_weights(model)
    assert reads.weights_read(model, 2 * stored, 1) == 2 * (layer_weights(model) + head_weights(model))
    tied = read(shape("llama-3.2-1b"))
    assert reads.weights_read(tied, 1e9, 8) == 1e9
    assert reads.kv_bytes(model, 2) == 2 * 32 * 8 * 128 * 2


def test_an_embedding_that_stays_wide_beside_narrow_layers_is_left_out_with_its_own_bytes():
    """An 8B model in 4 bits: 16-bit embedding and head of 1.05 GB each, 3.93 GB of layers with their scales."""
    model, embedding = read(shape("llama-3.1-8b")), 2 * 4096 * 128256
    layers = layer_weights(model) * (4 + 0.5) / 8
    weights = layers + 2 * embedding
    assert reads.weights_read(model, weights, 1, embedding) == layers + embedding == pytest.approx(4.98e9, rel=1e-3)
    # Where nobody tells its bytes it has those of its share.
    assert reads.weights_read(model, weights, 1) == pytest.approx(5.63e9, rel=1e-3)
    tied = read(shape("llama-3.2-1b"))
    assert reads.weights_read(tied, 1e9, 8, 5e8) == 1e9


def test_more_requests_meet_more_experts_and_never_more_than_there_are():
    model = read(shape("tiny-moe"))
    weights = 2.0 * (layer_weights(model) + expert_weights(model) + 2 * head_weights(model))
    one, eight, many = (reads.weights_read(model, weights, batch) for batch in (1, 8, 10_000))
    assert one == pytest.approx(2 * (layer_weights(model) + head_weights(model) + expert_weights(model) / 4))
    assert one < eight < many
    assert many == pytest.approx(weights - 2 * head_weights(model))


def test_peaks_are_those_of_the_board_and_precision_and_of_all_gpus_together():
    two = peaks_of(["NVIDIA H100 80GB HBM3"] * 2, "bfloat16")
    assert (two.flops_per_second, two.bytes_per_second) == (2 * 989.4e12, 2 * 3352e9)
    assert peaks_of(["NVIDIA L4"], "float32").flops_per_second == 30.3e12
    assert peaks_of(["NVIDIA L4"], "TF32").flops_per_second == 60.5e12
    assert peaks_of(["NVIDIA H200"], "float8").flops_per_second == 1978.9e12
    assert all(board.source and board.float16 and board.gigabytes for board in BOARDS)


@pytest.mark.parametrize(
    ("names", "precision", "reason"),
    [
        ([], "bfloat16", "no published peaks are known for a CPU"),
        (
            ["NVIDIA H100 80GB HBM3 MIG 1g.10gb"],
            "bfloat16",
            "no published peaks are known for 'NVIDIA H100 80GB HBM3 MIG",
        ),
    ],
)
def test_what_is_not_published_has_no_peak(names, precision, reason):
    with pytest.raises(Unavailable) as error:
        peaks_of(names, precision)
    assert error.value.reason.startswith(reason)


@pytest.mark.parametrize(
    ("names", "numbers", "reason", "gigabytes"),
    [
        (["Tesla T4"], "bfloat16", "no published peak of 'Tesla T4' in bfloat16 is known", 320),
        (["NVIDIA B200"], "float32", "no published peak of 'NVIDIA B200' in float32 is known", 8000),
        (
            ["NVIDIA H200", "NVIDIA A100-SXM4-80GB"],
            "float8",
            "no published peak of 'NVIDIA A100-SXM4-80GB' in float8 is known",
            4800 + 2039,
        ),
        (["NVIDIA H200"], None, "who knows", 4800),
    ],
)
def test_a_gpu_without_a_peak_of_flops_has_that_of_its_memory(names, numbers, reason, gigabytes):
    found = peaks_of(names, numbers, "who knows")
    assert (found.flops_per_second, found.flops_reason) == (None, reason)
    assert found.bytes_per_second == gigabytes * 1e9


@pytest.mark.parametrize(
    ("precision", "observed", "numbers"),
    [
        ("bfloat16", {}, "bfloat16"),
        ("float32", {"options": {"tf32": True}}, "TF32"),
        ("float32", {"options": {"tf32": False}}, "float32"),
        ("bfloat16", {"options": {"tf32": True}}, "bfloat16"),
        ("bfloat16", {"options": {"quantization": "4bit"}}, "bfloat16"),
        ("float16", {"engine": {"quantization": "awq_marlin"}}, "float16"),
        ("bfloat16", {"options": {"quantization": "8bit"}, "engine": {"quantization": "fp8_per_tensor"}}, "float8"),
        ("bfloat16", {"options": {}, "engine": {"quantization": None}}, "bfloat16"),
    ],
)
def test_flops_are_held_against_the_numbers_that_are_multiplied(precision, observed, numbers):
    assert multiplied_in(precision, observed) == numbers


@pytest.mark.parametrize("way", ["8bit", "int8_dynamic_activation_int8_weight", "compressed-tensors", "mxfp4"])
def test_a_quantisation_whose_products_are_not_known_has_no_peak(way):
    """At the peak of its precision a model that multiplies in 8 bits could pass all that a GPU can do."""
    with pytest.raises(Unavailable) as error:
        multiplied_in("bfloat16", {"options": {"quantization": way}})
    assert repr(way) in error.value.reason
