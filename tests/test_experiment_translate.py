"""A file's words → the marker's keywords: each by the table, some by a rule, contradictions in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import pytest
import yaml
from jsonschema import Draft7Validator

from pytest_lem.campaign.document import read
from pytest_lem.experiment.check import checked
from pytest_lem.experiment.kinds import parts_of
from pytest_lem.experiment.schema import schema
from pytest_lem.experiment.translate import translate
from pytest_lem.experiment.words import WORDS
from pytest_lem.model.errors import UsageError

ENGINES = ("pytorch", "vllm")
FOR_PEOPLE = ("config_name", "description", "extra_metadata")
PAGE = Path(__file__).parent / "experiments" / "llenergymeasure.lem.yaml"


@pytest.fixture
def said(tmp_path):
    def said(text):
        path = tmp_path / "a.lem.yaml"
        path.write_text(text)
        return translate(read(path, "a.lem.yaml"), ENGINES)

    return said


def keywords(found):
    return dict(found.keywords)


def test_the_example_of_llenergymeasures_page_is_valid_unchanged():
    found = checked(PAGE, lambda path: path.name)
    assert found.experiment.name == "llama-3.2-3b-vllm-benchmark"
    assert found.experiment.keywords == {
        "model": "meta-llama/Llama-3.2-3B",
        "backend": "vllm",
        "precision": "float16",
        "gpus": 4,
        "batch": 32,
        "output_tokens": 256,
        "traffic": {"arrivals": "poisson", "qps": 10.0, "seconds": 60.0},
        "decoding": {"preset": "deterministic"},
        "vllm": {
            "gpu_memory_utilization": 0.9,
            "enable_prefix_caching": True,
            "max_model_len": 4096,
            "tensor_parallel_size": 4,
            "served": True,
        },
    }
    assert [cell.id for cell in found.cells] == ["vllm-fp16-b32-c0"]
    assert found.notes == (
        "llenergymeasure.lem.yaml:25: traffic_simulation: nothing says how many requests there are; they come for 60 s",
        "llenergymeasure.lem.yaml:20: batching.strategy: sorted_dynamic is left out: with traffic, requests come one by"
        " one, not in groups",
    )
    assert found.experiment.origins["vllm.tensor_parallel_size"] == "llenergymeasure.lem.yaml:38"
    assert not list(Draft7Validator(schema()).iter_errors(yaml.safe_load(PAGE.read_text())))


def test_the_short_words_of_the_pages_diagram_mean_the_same(said):
    short = said(
        "model: llama-3.2-3b\nprecision: float16\nbatch_size: 32\nnum_gpus: 4\nbackend: vllm\n"
        "sharding: tensor_parallel\nquantization: 4bit\ntraffic: poisson\ntarget_qps: 10.0\nrequests: 100\n"
    )
    full = said(
        "model_name: llama-3.2-3b\nfp_precision: float16\nbatching: {batch_size: 32}\ngpus: [0, 1, 2, 3]\n"
        "backend: vllm\n"
        "sharding: {strategy: tensor_parallel, num_shards: 4}\nquantization: {load_in_4bit: true}\nnum_processes: 4\n"
        "traffic_simulation: {enabled: true, mode: poisson, target_qps: 10.0}\nnum_input_prompts: 100\n"
    )
    assert keywords(short) == keywords(full)
    assert short.keywords["vllm"] == {"tensor_parallel_size": 4, "quantization": "4bit", "served": True}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("config_name: x\ndescription: y\n", {}),
        ("batching: sorted\n", {"batching": "sorted_static"}),
        ("strategy: sorted\nmax_tokens_per_batch: 64\n", {"batching": "sorted_dynamic", "max_tokens_per_batch": 64}),
        ("batching: {strategy: [static, sorted]}\n", {"batching": ["static", "sorted_static"]}),
        ("gpus: 2\n", {"gpus": 2}),
        ("gpus: [0]\nnum_processes: 1\n", {"gpus": 1}),
        ("num_processes: 2\n", {"gpus": 2}),
        ("sharding: {strategy: none, num_shards: 1}\ngpus: [0, 1]\n", {"gpus": 2}),
        ("sharding: none\nquantization: none\n", {}),
        ("sharding: {strategy: none, num_shards: 4}\n", {}),
        ("quantization: {quantization: false, load_in_4bit: false}\n", {}),
        (
            "backend: vllm\nparallelism: {strategy: pipeline_parallel, degree: 2}\n",
            {"backend": "vllm", "gpus": 2, "vllm": {"pipeline_parallel_size": 2}},
        ),
        ("decoder: creative\n", {"decoding": {"preset": "creative"}}),
        ("decoder: {preset: standard, top_k: 0}\n", {"decoding": {"preset": "standard", "top_k": None}}),
        (
            "decoder: {temperature: 0.7, top_p: 0.9, top_k: 40, do_sample: true}\n",
            {"decoding": {"temperature": 0.7, "top_p": 0.9, "top_k": 40}},
        ),
        ("decoder: {do_sample: false}\n", {"decoding": {"temperature": 0.0}}),
        ("max_input_tokens: 512\nmax_output_tokens: 128\n", {"prompt_tokens": 512, "output_tokens": 128}),
        (
            "dataset: alpaca\nmax_input_tokens: 512\n",
            {"data": {"source": "hf:tatsu-lab/alpaca", "max_tokens": 512, "too_long": "right"}},
        ),
        (
            "dataset: {name: org/set, sample_size: 10, column: text}\n",
            {"data": {"source": "hf:org/set", "limit": 10, "field": "text"}},
        ),
        ("dataset: builtin:chat\n", {"data": {"source": "builtin:chat"}}),
        ("dataset: prompts.jsonl\n", {"data": {"source": "prompts.jsonl"}}),
        ("traffic_simulation: {enabled: false, mode: poisson, target_qps: 1.0, seed: null}\n", {}),
        (
            "traffic_simulation: {enabled: true, mode: constant, target_qps: 2, seed: 5}\nrequests: 8\n",
            {"traffic": {"arrivals": "constant", "qps": 2}, "seed": 5, "requests": 8},
        ),
        ("backend: vllm\ntarget_qps: [1, 2]\n", {"backend": "vllm", "target_qps": [1, 2], "vllm": {"served": True}}),
        ("traffic: {concurrency: 4, requests: 8}\n", {"traffic": {"concurrency": 4, "requests": 8}}),
        ("backend: vllm\nstreaming: true\n", {"backend": "vllm", "vllm": {"served": True}}),
        ("streaming: true\nstreaming_warmup_requests: 5\n", {"warmup_prompts": 5}),
        ("num_cycles: 3\nrandom_seed: 42\n", {"cycles": 3, "seed": 42}),
        (
            "pytorch: {attn_implementation: eager, torch_compile: false, low_cpu_mem_usage: true, cache: null}\n",
            {"pytorch": {"attention_implementation": "eager", "torch_compile": False}},
        ),
        (
            "pytorch:\n  torch_compile: default\n  torch_compile_backend: eager\n  use_cache: true\n"
            "  attention_implementation: sdpa\n  assisted_generation: null\n",
            {
                "pytorch": {
                    "torch_compile": "default",
                    "torch_compile_backend": "eager",
                    "use_cache": True,
                    "attention_implementation": "sdpa",
                }
            },
        ),
        (
            "pytorch: {assisted_generation: {model: 'synthetic:tiny', num_tokens: 5}}\n",
            {"pytorch": {"assistant_model": "synthetic:tiny", "num_assistant_tokens": 5}},
        ),
        (
            "vllm: [{max_num_seqs: 8}, {max_num_seqs: 16}]\nbackend: vllm\nstreaming: true\n",
            {"backend": "vllm", "vllm": [{"max_num_seqs": 8, "served": True}, {"max_num_seqs": 16, "served": True}]},
        ),
        (
            "vllm: {quantization_method: awq, distributed_backend: mp, extra: {}}\n",
            {"vllm": {"quantization": "awq", "distributed_executor_backend": "mp"}},
        ),
        ("precision: null\nbatch: null\ndecoder: null\nvllm: null\n", {}),
        ("slo: interactive\n", {"slo": "interactive"}),
        ("slo: {ttft_ms: 100}\n", {"slo": {"ttft_ms": 100}}),
        (
            "traffic: [{qps: 1, requests: 4}, {qps: 2, requests: 4}]\n",
            {"traffic": [{"qps": 1, "requests": 4}, {"qps": 2, "requests": 4}]},
        ),
        ("batch: {min: 1, max: 8, pow2: true}\n", {"batch": {"min": 1, "max": 8, "pow2": True}}),
        ("prompts: [a b, c]\nid: mine\ngenerator: g\n", {"prompts": ["a b", "c"], "id": "mine", "generator": "g"}),
    ],
)
def test_words_mean_keywords(said, text, found):
    assert keywords(said(text)) == found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "model: a\nmodel_name: b\n",
            "a.lem.yaml:2: model_name: b contradicts model: a (a.lem.yaml:1); keep one of them",
        ),
        (
            "batching:\n  batch_size: 8\nbatch_size: 4\n",
            "a.lem.yaml:2: batching.batch_size: 8 contradicts batch_size: 4 (a.l",
        ),
        (
            "max_output_tokens: 9\ndecoder: {max_new_tokens: 8}\n",
            "a.lem.yaml:2: decoder.max_new_tokens: 8 contradicts max_o",
        ),
        (
            "gpus: [0, 1]\nbackend: vllm\nsharding: {strategy: tensor_parallel, num_shards: 4}\n",
            "a.lem.yaml:3: sharding.num_shards: 4 contradicts gpus: [0, 1] (a.lem.yaml:1); keep one of them",
        ),
        (
            "gpus: [0, 1]\nnum_processes: 4\n",
            "a.lem.yaml:2: num_processes: 4 contradicts gpus: [0, 1] (a.lem.yaml:1); keep",
        ),
        (
            "backend: vllm\nnum_gpus: 2\nsharding: tensor_parallel\nvllm: {tensor_parallel_size: 4}\n",
            "a.lem.yaml:3: sharding: tensor_parallel contradicts vllm.tensor_parallel_size: 4 (a.lem.yaml:4)",
        ),
        (
            "backend: vllm\nvllm: [{tensor_parallel_size: 4}]\nnum_gpus: 2\nsharding: tensor_parallel\n",
            "a.lem.yaml:4: sharding: tensor_parallel contradicts tensor_parallel_size: 4; keep one of them",
        ),
        (
            "sharding: tensor_parallel\n",
            "a.lem.yaml:1: sharding: tensor_parallel needs sharding.num_shards, or num_gpus: over",
        ),
        (
            "sharding: {num_shards: 3}\n",
            "a.lem.yaml:1: sharding.num_shards: 3 of what? name sharding.strategy beside it",
        ),
        (
            "sharding: tensor_parallel\nnum_gpus: 2\n",
            "a.lem.yaml:1: sharding: for which engine? name backend beside it",
        ),
        (
            "quantization:\n  load_in_4bit: true\n  load_in_8bit: true\n",
            "a.lem.yaml:3: quantization: load_in_4bit and load_",
        ),
        (
            "quantization: {quantization: true}\n",
            "a.lem.yaml:1: quantization: of how many bits? say load_in_4bit or load_in",
        ),
        (
            "quantization: {quantization: false, load_in_4bit: true}\n",
            "a.lem.yaml:1: quantization: false contradicts load",
        ),
        ("traffic: poisson\n", "a.lem.yaml:1: traffic: how often do requests come? name target_qps beside it"),
        ("traffic_simulation: {enabled: true}\n", "a.lem.yaml:1: traffic_simulation: how often do requests come? name"),
        (
            "traffic_simulation: {target_qps: 1}\n",
            "a.lem.yaml:1: traffic_simulation: say enabled: true (or false) in it",
        ),
        (
            "traffic: poisson\ntarget_qps: [1, 2]\n",
            "a.lem.yaml:2: target_qps: one rate stands beside traffic; several of",
        ),
        (
            "target_qps: 1\ntraffic: {qps: 2, requests: 3}\n",
            "a.lem.yaml:1: target_qps: 1 contradicts traffic.qps: 2 (a.lem.yaml:2); keep one of them",
        ),
        (
            "decoder: {do_sample: false, temperature: 1.0}\n",
            "a.lem.yaml:1: decoder.do_sample: false contradicts decoder.te",
        ),
        (
            "decoding: [creative, standard]\ndecoder: {top_p: 0.5}\n",
            "a.lem.yaml:2: decoder.top_p stands beside decoding (a.",
        ),
        ("vllm: eager\n", "a.lem.yaml:1: vllm: expected options as a mapping, or a list of them; got 'eager'"),
        (
            "pytorch:\n  use_cash: true\n",
            "a.lem.yaml:2: pytorch: unknown option 'use_cash'; the nearest known one is 'use_ca",
        ),
        (
            "pytorch: {torch_compile: fast}\n",
            "a.lem.yaml:1: pytorch.torch_compile: Input should be",
        ),
        (
            "pytorch:\n  use_cache: false\n  prompt_lookup_num_tokens: 3\n",
            "a.lem.yaml:1: pytorch: assisted generation needs the cache; leave use_cache=False out",
        ),
        (
            "pytorch:\n  assisted_generation:\n    modell: synthetic:tiny\n",
            "a.lem.yaml:3: pytorch.assisted_generation: unknown key 'modell'; the nearest known one is 'model'",
        ),
        (
            "pytorch: {assisted_generation: true}\n",
            "a.lem.yaml:1: pytorch.assisted_generation: expected a mapping with model, num_tokens; got True",
        ),
        (
            "vllm:\n  seed: 1\n  max_model_len: 0\n",
            "a.lem.yaml:3: vllm.max_model_len: Input should be greater than or equal",
        ),
    ],
)
def test_what_contradicts_or_is_half_said_is_one_line(said, text, line):
    with pytest.raises(UsageError) as caught:
        said(text)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def some(kind):
    """A value that a word may have."""
    part = parts_of(kind)[-1] if get_origin(parts_of(kind)[0]) is list else parts_of(kind)[0]
    plain = get_args(part)[0] if get_origin(part) is Annotated else part
    if get_origin(plain) is Literal:
        return get_args(plain)[-1]
    return {int: 3, float: 0.5, str: "vllm", bool: True, dict: {"a": 1}, list: [{"qps": 1}]}[get_origin(plain) or plain]


@pytest.mark.parametrize("word", [word for name, word in WORDS.items() if name not in FOR_PEOPLE], ids=lambda w: w.name)
def test_every_word_changes_something_or_says_what_it_lacks(said, word):
    value = "constant" if word.name == "traffic_simulation.mode" else some(word.kind)
    beside = {} if word.name == "backend" else {"backend": "vllm"}
    if word.name in ("traffic_simulation.mode", "traffic_simulation.target_qps", "traffic_simulation.seed"):
        beside["traffic_simulation"] = {"enabled": True, "target_qps": 9}
    values = {**beside}
    section, _, name = word.name.rpartition(".")
    if section:
        values[section] = {**beside.get(section, {}), name: value}
    else:
        values[name] = value
    before = said(yaml.safe_dump(beside)).keywords
    try:
        assert said(yaml.safe_dump(values)).keywords != before
    except UsageError as error:
        assert word.name.partition(".")[0] in str(error)  # noqa: PT017 - half said: the other half is asked for


def test_which_gpus_is_not_the_files_to_say(said):
    assert said("gpus: [2, 3]\n").notes == (
        "a.lem.yaml:1: gpus: how many they are counts here; which ones, --lem-gpus=2,3 says",
    )
    assert said("gpus: [0, 1]\n").notes == ()


def test_groups_are_left_out_under_traffic_with_a_note_and_else_kept(said):
    grouped = "batching:\n  strategy: sorted_dynamic\n  max_tokens_per_batch: 64\n"
    assert set(said(grouped).keywords) == {"batching", "max_tokens_per_batch"}
    coming = said(f"{grouped}target_qps: 4\n")
    assert keywords(coming) == {"target_qps": 4}
    assert coming.notes[0].startswith("a.lem.yaml:2: batching.strategy: sorted_dynamic is left out: with traffic, ")
    # a static strategy asks for nothing: there is nothing to tell
    assert said("batching: static\ntarget_qps: 4\n").notes == ()
