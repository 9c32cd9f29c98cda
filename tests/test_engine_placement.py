"""Layers that a `device_map` places: what is asked, where the weights lie, and what is no placement.

Two devices of this machine are its memory and its disk: accelerate's hooks are the same that carry a token from one GPU
to the next.
"""

from __future__ import annotations

import re

import pytest
from builders import a_measurement
from engine_starts import spec
from test_engine_pytorch_options import difference, lab, made, runs_as_asked

from pytest_lem.engines import registry
from pytest_lem.engines.observed import check_observed
from pytest_lem.model.errors import UsageError
from pytest_lem.render.columns import _split

WAYS = ("auto", "balanced", "balanced_low_0", "sequential")
WHOLE = 4 * 557_696
LAYER = 4 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 128 * 256 + 2 * 128)


def placed(device_map, gpus=1, **options):
    return spec("pytorch", gpus=gpus, options={"device_map": device_map, **options})


def refusal(*asked, **options):
    with pytest.raises(UsageError) as caught:
        placed(*asked, **options)
    return str(caught.value)


# What is asked of it, before any process starts.


@pytest.mark.parametrize("way", WAYS)
def test_a_way_to_place_gets_as_many_gpus_as_are_asked_for(way):
    assert [placed(way, gpus).gpus for gpus in (1, 2, 4)] == [1, 2, 4]
    assert registry.entry("pytorch").ranks(placed(way, 2).options) == 1


def test_a_map_of_modules_says_how_many_gpus_it_takes():
    asked = placed({"model.embed_tokens": 0, "model.layers": "cuda:1", "model.norm": "1", "lm_head": 1})
    assert asked.gpus == 2
    assert asked.options["device_map"] == {"model.embed_tokens": 0, "model.layers": 1, "model.norm": 1, "lm_head": 1}
    assert placed({"": "cpu"}).gpus == 1
    assert refusal({"": 0}, 3) == "pytorch: gpus=3 was asked for, but its options take 1; give the same"


@pytest.mark.parametrize(
    ("device_map", "options", "words"),
    [
        (
            {"model": 0, "lm_head": "disk"},
            {},
            "'lm_head' on 'disk': weights there are offloaded, not placed; give a GPU's",
        ),
        ({"model": "gpu"}, {}, "'model' on 'gpu': give a GPU's number, from 0 on, or cpu"),
        (
            {"model": 0, "lm_head": "cpu"},
            {},
            "pytorch: device_map names cpu beside GPUs: weights that are copied to a GPU",
        ),
        ({"model": 0, "lm_head": 2}, {}, "pytorch: device_map names GPUs 0, 2; number them from 0 on, without a gap"),
        ({}, {}, "pytorch: device_map names no module; say which lies on which GPU, or take 'auto'"),
        (
            "auto",
            {"tensor_parallel_size": 2},
            "pytorch: device_map places layers in one process; leave it, or the sizes",
        ),
        ("auto", {"data_parallel_size": 2}, "pytorch: device_map places layers in one process; leave it, or the sizes"),
        (
            "auto",
            {"quantization": "4bit"},
            "pytorch: a model whose layers device_map places is neither compiled, quantised",
        ),
        (
            "auto",
            {"torch_compile": True},
            "pytorch: a model whose layers device_map places is neither compiled, quantised",
        ),
        ("auto", {"cache_implementation": "static"}, "keep device_map by itself"),
        ("auto", {"prompt_lookup_num_tokens": 2}, "keep device_map by itself"),
        ("auto", {"gguf_file": "model.gguf"}, "keep device_map by itself"),
        (
            "auto",
            {"traffic": "continuous"},
            "go through a queue where layers lie on several GPUs; take traffic='queue'",
        ),
    ],
)
def test_what_is_no_placement_is_refused(device_map, options, words):
    assert words in refusal(device_map, **options)


def test_a_table_says_what_it_is():
    def tags(placement):
        found = a_measurement()
        engine = found.engine.model_copy(update={"observed": {"options": {}, "placement": placement}})
        return _split(found.model_copy(update={"engine": engine}))

    assert tags({"GPU-a": {}, "GPU-b": {}}) == ["layers on 2 GPUs, one at a time"]
    assert tags({"cpu": {}}) == tags(None) == []


# What runs


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return lab("placed", tmp_path_factory.mktemp("placed"))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["auto", "modules"])
def test_a_placed_model_makes_the_same_tokens(found, name):
    case = found["cases"][name]
    assert runs_as_asked(case)
    assert made(case) == made(found["cases"]["plain"])
    assert case["observed"]["placement"] == {"cpu": {"layers": [0, 1], "weights_bytes": WHOLE}}
    assert found["cases"]["plain"]["observed"]["placement"] is None


@pytest.mark.torch
def test_a_token_passes_through_two_devices_and_is_the_same(found):
    case = found["falsified"]["over_two"]
    assert made(case) == made(found["cases"]["plain"])
    assert case["observed"]["placement"]["cpu"] == {"layers": [0], "weights_bytes": WHOLE - LAYER}
    assert case["observed"]["options"]["traffic"] == "queue"
    assert found["read"]["against"] == "the model's layers lie on several devices"


@pytest.mark.torch
def test_weights_that_lie_elsewhere_are_no_placement(found):
    assert difference(found["falsified"]["over_two"]) == "device: asked 'cpu', observed 'cpu+meta'"
    assert found["read"]["asked"] == {"": "cpu+meta"}
    assert found["read"]["modules"] == {"model": "cpu+meta", "no module": "cpu"}
    assert found["read"]["auto"]["model.layers.1"] == "meta"
    assert found["refused"]["offloaded"] == (
        "pytorch: device_map='auto' leaves 9 weights (model.layers.1.self_attn.q_proj.weight is the first) on the CPU "
        "or the disk: they would be copied for each token, which is offloading; give it more GPUs (gpus=), or take a "
        "smaller model"
    )


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no_gpu", "device_map names GPU(s) 0, 1, and this engine runs on the CPU; name cpu, or give it GPUs"),
        ("no_accelerate", "device_map needs accelerate, which is not installed; install accelerate"),
        ("one_gpu", "device_map='auto' over one GPU places nothing; say how many, as gpus=2, or drop it"),
        ("idle", "device_map='sequential' puts layers on 1 of 2 GPUs; take 'balanced', or gpus=1"),
        ("cpu", "device_map names cpu, and this engine runs on GPUs; ask for device 'cpu', or name GPUs"),
        ("strange", "device_map: the model has no module 'model.layerz'; the nearest is 'model.layers'"),
        (
            "left",
            "device_map gives 3 weights no place (model.embed_tokens.weight is the first); name their modules too",
        ),
    ],
)
def test_a_placement_that_cannot_be_is_refused_in_one_line(found, name, line):
    assert found["refused"][name] == f"pytorch: {line}"


@pytest.mark.torch
def test_a_replica_takes_the_only_gpu_that_it_sees_and_a_rank_that_of_its_number(found):
    assert found["devices"] == {
        "replica": "cuda:0",
        "rank": "cuda:1",
        "placed": "cuda:0",
        "one": "cuda:0",
        "too_many": "GPUs: 2 were given, but this engine runs on 1; give it 1",
        "too_late": "GPUs: a replica sees 2 instead of its own, since something asked for them before it was given "
        "one; see what this Python imports at its start (.pth files, sitecustomize)",
    }


@pytest.mark.torch
def test_ranks_on_gpus_compute_by_nccl_and_meet_by_gloo_past_the_gpus_queue(found):
    assert found["on_gpus"]["said"] == [
        ["set_device", "cuda:1"],
        ["init_process_group", "nccl", "cuda:1"],
        ["new_group", "gloo"],
        ["forget_peak"],
        ["barrier", "the host's"],
        ["barrier", "the host's"],
        ["work"],
        ["barrier", "the host's"],
        ["all_gather_object", "[None, None]", "own", "the host's"],
    ]


@pytest.mark.torch
def test_a_rank_on_a_gpu_tells_the_peaks_of_its_own(found):
    assert found["on_gpus"]["own"] == {
        "rank": 1,
        "device": "GPU-b",
        "tokens": 24,
        "weights_bytes": 20,
        "allocated_bytes": 30,
        "reserved_bytes": 40,
        "resident_bytes": None,  # where the peak cannot be begun anew, it would be that of loading
    }


@pytest.mark.torch
def test_ranks_that_differ_from_each_other_are_an_error(found):
    apart = found["apart"]
    asked = {**found["cases"]["plain"]["request"]}
    asked["options"] = {**asked["options"], "attention_implementation": "sdpa", "tensor_parallel_size": 2}
    assert check_observed(asked, apart["alike"]) is None
    assert apart["alike"]["weights_bytes"] == 16
    assert check_observed(asked, apart["precision"]).endswith("asked 'float32', observed 'float32+bfloat16'")
    assert check_observed(asked, apart["attention"]).endswith("asked 'sdpa', observed 'sdpa+eager'")
    assert check_observed(asked, apart["size"]).endswith("tensor_parallel_size: asked 2, observed '2+1'")
    assert found["on_gpus"]["other_tokens"] == "rank 1 made other tokens than rank 0"


@pytest.mark.torch
def test_shards_that_do_not_come_to_the_whole_model_are_an_error(found):
    assert found["apart"]["missing"] == ("the ranks hold 12 of the 16 parameters of model.layers.0.mlp.up_proj.weight")


@pytest.mark.torch
def test_one_weight_in_half_a_million_makes_another_fingerprint(found):
    first, again, other, moved = found["fingerprints"]
    assert first == again != other
    assert other != moved  # two rows that changed places


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        (
            "no_tensor",
            r"tensor_parallel_size=2: transformers [\d.]+ has no DistributedConfig\(tp_size=…\); "
            "install transformers>=5.17",
        ),
        (
            "no_stages",
            r"pipeline_parallel_size=2: transformers [\d.]+ has no DistributedConfig\(pp_size=…\); "
            "install transformers>=5.17",
        ),
        (
            "vocabulary",
            r"tensor_parallel_size=2 does not divide the model's vocabulary of 1023 tokens, as transformers [\d.]+ "
            "needs; take 1, or install transformers>=5.23",
        ),
        (
            "no_plan",
            r"tensor_parallel_size=2: transformers [\d.]+ has no plan \(tp_plan\) by which ranks could share a "
            "GPT2LMHeadModel; take 1",
        ),
        (
            "no_parts",
            r"pipeline_parallel_size=2: transformers [\d.]+ deals out embed_tokens, layers and norm, and GPT2Model "
            "is made of wte, wpe, h, ln_f; take 1",
        ),
        (
            "other_parts",  # its last norm would run behind each stage
            r"pipeline_parallel_size=2: transformers [\d.]+ deals out embed_tokens, layers and norm, and "
            "GPTNeoXModel is made of embed_in, layers, final_layer_norm; take 1",
        ),
        (
            "unseen",
            r"pipeline_parallel_size=2: whether stages of a LlamaModel hand on what they get cannot be seen here "
            r"\(TypeError: no embeddings here\); take 1",
        ),
        (
            "scaled",
            r"pipeline_parallel_size=2: GraniteModel scales its embedding, and would do so again on each stage; take 1",
        ),
        (
            "packed",
            r"the model's files are quantised \(fp8\), and a model that ranks share is not quantised here; take files "
            "that are not, or data_parallel_size",
        ),
    ],
)
def test_a_split_that_this_transformers_cannot_do_is_refused_before_anything_loads(found, name, pattern):
    assert re.fullmatch(pattern, found["refused"][name])


@pytest.mark.torch
@pytest.mark.parametrize("name", ["stages", "shared_neox"])
def test_a_class_that_transformers_can_split_is_split(found, name):
    assert found["refused"][name] == "joined"


@pytest.mark.torch
def test_a_transformers_that_gathers_uneven_parts_shares_any_vocabulary(found):
    assert found["refused"]["uneven"] == "joined"


@pytest.mark.torch
def test_replicas_that_hold_other_weights_end_the_start(found):
    assert found["refused"]["replica"] == "rank 1 holds other weights than rank 0"
