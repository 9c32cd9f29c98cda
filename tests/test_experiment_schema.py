"""The shipped schema says what the code takes: what editors offer is read, and what they mark is refused."""

from __future__ import annotations

import json

import pytest
import yaml
from jsonschema import Draft7Validator

from pytest_lem.campaign.document import read
from pytest_lem.engines import registry
from pytest_lem.experiment.experiment import experiment_of
from pytest_lem.experiment.schema import FILE, schema, text
from pytest_lem.experiment.words import NEUTRAL, SHADOWED, WORDS
from pytest_lem.model.errors import UsageError
from pytest_lem.model.metrics import METRICS

SHIPPED = json.loads(FILE.read_text())


def test_the_shipped_schema_is_what_the_table_says():
    assert FILE.read_text() == text(schema()), "run: python -m pytest_lem.experiment.schema"


def test_it_is_a_valid_schema():
    Draft7Validator.check_schema(SHIPPED)


def enums(part):
    """Every list of values in the schema."""
    if isinstance(part, dict):
        yield from [part["enum"]] if isinstance(part.get("enum"), list) else []
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from enums(inner)


def test_no_list_of_values_holds_one_twice():
    """The YAML language server refuses the whole schema for it, where 1 and 1.0 are one."""
    for values in enums(SHIPPED):
        found = [json.dumps(int(each) if isinstance(each, float) and each.is_integer() else each) for each in values]
        assert len(set(found)) == len(found), values


def places(word: str) -> dict:
    """The part of the schema that describes a word, as an editor finds it for completion."""
    found: dict = SHIPPED
    for name in word.split("."):
        inner = next(each for each in [found, *found.get("anyOf", [])] if name in each.get("properties", {}))
        found = inner["properties"][name]
        if "$ref" in found:
            found = SHIPPED["definitions"][found["$ref"].removeprefix("#/definitions/")]
    return found


@pytest.mark.parametrize(
    "word",
    [
        *WORDS,
        *(word for word in NEUTRAL if word not in SHADOWED.values()),
        *SHADOWED,
        "campaign.files",
        "vllm",
        "tensorrt",
    ],
)
def test_every_word_is_offered_and_described(word):
    assert places(word)["description"]


@pytest.mark.parametrize("engine", ["pytorch", "vllm", "tensorrt"])
def test_every_option_of_an_engine_is_offered(engine):
    offered = SHIPPED["definitions"][f"{engine}-options"]["properties"]
    assert set(registry.entry(engine).options.model_fields) <= set(offered)


def test_every_metric_may_have_a_budget_and_a_gate():
    assert set(SHIPPED["properties"]["budget"]["properties"]) == set(METRICS)


FILES = [
    "batch_size: 8",
    "batch_size: [1, 8]",
    "batch_size: {min: 1, max: 8, pow2: true}",
    "batch_size: eight",
    "bacth: 1",
    "batching: sorted_static",
    "batching: {strategy: sorted_static, batch_size: 4}",
    "batching: {strategi: static}",
    "fp_precision: float16",
    "fp_precision: fp9",
    "gpus: [0]",
    "gpus: one",
    "decoder: {preset: creative, top_k: 0, do_sample: true}",
    "decoder: {preset: wild}",
    "decoder: creative",
    "precision: null",
    "is_encoder_decoder: false",
    "is_encoder_decoder: true",
    "adapter: null",
    "adapter: mine",
    "schedule: {enabled: false, at: null}",
    "pytorch: {attn_implementation: eager}",
    "pytorch: {torch_compile: false}",
    "pytorch: {use_cache: false}",
    "pytorch: {use_cash: false}",
    "vllm: [{max_num_seqs: 8}, {max_num_seqs: 16}]",
    "vllm: {max_num_seqs: many}",
    "tensorrt: {anything: 1}",
    "sweep: {batch_size: [1, 2], decoder.temperature: [0, 1], vllm: {max_num_seqs: [8]}}",
    "sweep: {batch_size: 1}",
    "sweep: {decodr.temperature: [1]}",
    "experiments: [{batch_size: 1}, {batch_size: 2}]",
    "experiments: [{bacth: 1}]",
    "budget: {joules_per_token: 0.5}",
    "budget: {joules_per_tokn: 0.5}",
    "gate: joules_per_token",
    "gate: [joules_per_token, tokens_per_second]",
    "gate: {joules_per_token: 5%, tokens_per_second: {threshold: 0.1, direction: higher}}",
    "gate: {joules_per_token: 5}",
    "traffic: poisson\ntarget_qps: 4",
    "traffic_simulation: {enabled: true, mode: gamma, target_qps: 1}",
    "slo: interactive",
    "slo: {ttft_ms: 100}",
    "slo: fast",
    "data: {source: builtin:chat}",
    "config_name: 8",
]


@pytest.mark.parametrize("written", FILES)
def test_the_schema_and_the_reader_agree(written, tmp_path):
    path = tmp_path / "a.lem.yaml"
    path.write_text(written)
    try:
        experiment_of(read(path, "a.lem.yaml"), path, "a.lem.yaml")
        refused = None
    except UsageError as error:
        refused = str(error)
    faults = [fault.message for fault in Draft7Validator(SHIPPED).iter_errors(yaml.safe_load(written))]
    assert bool(faults) == bool(refused), (faults, refused)
