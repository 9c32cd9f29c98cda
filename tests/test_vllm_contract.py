"""What the vLLM adapter uses exists in every version that it drives, with the arguments that it passes."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
import vllm_contract
from vllm_contract import READ, VARIABLES

from pytest_lem.engines.child import vllm_arguments, vllm_records
from pytest_lem.engines.vllm import VllmOptions

OBSERVE = Path(vllm_records.__file__).with_name("vllm_observe.py")
# What the drivers pass: how many by position, then by name.
CALLS = {
    "LLM.generate": (3, ("use_tqdm",)),
    "LLM.collective_rpc": (2, ()),
    "AsyncLLM.from_engine_args": (2, ()),
    "AsyncLLM.generate": (4, ()),
    "AsyncLLM.collective_rpc": (2, ()),
    "AsyncLLM.shutdown": (1, ("timeout",)),
    "MPClient.shutdown": (1, ("timeout",)),
}
STAMPS = {"queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts"}
FIELDS = {
    "RequestStateStats": STAMPS,
    "SchedulerStats": {"kv_cache_usage", "perf_stats"},
    "IterationStats": {"num_preempted_reqs"},
    "PerfStats": {"num_flops_per_gpu", "num_read_bytes_per_gpu", "num_write_bytes_per_gpu"},
    "EngineCoreOutput": {"request_id", "new_token_ids"},
    "RequestOutput": {"request_id", "outputs", "metrics", "num_cached_tokens"},
    "CompletionOutput": {"token_ids"},
    "SamplingParams": {"max_tokens", "ignore_eos", "temperature", "detokenize", "output_kind"},
    "RequestOutputKind": {"DELTA", "FINAL_ONLY"},
}
SECTIONS = {
    "config": "VllmConfig",
    "model_config": "ModelConfig",
    "cache": "CacheConfig",
    "scheduler": "SchedulerConfig",
    "parallel": "ParallelConfig",
}


@pytest.fixture(params=vllm_contract.versions())
def contract(request):
    return vllm_contract.read(request.param)


def signature(text: str) -> inspect.Signature:
    """A contract's line as a signature that calls can be bound to."""
    return inspect.signature(eval(f"lambda {re.sub('=(?=,|$)', '=0', text)}: 0"))


def names_read_by_engine() -> dict[str, set[str]]:
    """The configuration's fields that `vllm_observe._engine` reads, by the class that holds them."""
    tree = ast.parse(OBSERVE.read_text())
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_engine")
    found: dict[str, set[str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute):
            place = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if place in SECTIONS:
                found.setdefault(SECTIONS[place], set()).add(node.attr)
    return found


def test_the_oldest_and_the_newest_version_that_the_adapter_names_are_kept():
    oldest, newest = (".".join(map(str, edge)) for edge in (vllm_arguments.OLDEST, vllm_arguments.NEWEST))
    assert vllm_contract.versions() == [oldest, "0.26", "0.28", "0.32", newest]


@pytest.mark.parametrize("name", CALLS)
def test_every_call_of_the_drivers_is_accepted(contract, name):
    positional, keywords = CALLS[name]
    signature(contract["signatures"][name]).bind(*range(positional), **dict.fromkeys(keywords))


def test_the_step_log_takes_every_record_that_vllm_gives(contract):
    given = signature(contract["signatures"]["StatLoggerBase.record"])
    ours = inspect.signature(vllm_records.StepLog.record)
    assert list(given.parameters)[:3] == list(ours.parameters)[:3] == ["self", "scheduler_stats", "iteration_stats"]
    ours.bind(0, 0, 0, **dict.fromkeys(list(given.parameters)[3:]))


def test_the_token_log_finds_the_stamp_by_its_place_and_by_its_name(contract):
    given = signature(contract["signatures"]["OutputProcessor.process_outputs"])
    assert list(given.parameters)[:3] == ["self", "engine_core_outputs", "engine_core_timestamp"]


def test_the_core_appends_as_much_to_a_requests_name_as_the_token_log_takes_off(contract):
    assert contract["request_id"] == "f'{request.external_req_id}-{random_uuid():.8}'"
    assert len("-12345678") == vllm_records.ID_SUFFIX


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_vllms_records_that_is_read_exists(contract, name):
    assert FIELDS[name] - set(contract["fields"][name]) == set()


@pytest.mark.parametrize("name", READ)
def test_every_attribute_of_vllms_objects_that_is_read_exists(contract, name):
    _, used = READ[name]
    assert used - set(contract["read"][name]) == set()


def test_the_contract_knows_every_field_that_the_observed_configuration_reads():
    for name, fields in names_read_by_engine().items():
        assert fields - READ[name][1] - {"cache_config", "scheduler_config", "parallel_config"} == set(), name
    assert names_read_by_engine().keys() == set(SECTIONS.values())


def test_every_variable_that_is_set_is_one_of_vllms(contract):
    assert set(contract["variables"]) == VARIABLES


def test_every_typed_option_and_every_argument_of_ours_is_one_of_vllms(contract):
    ours = set(VllmOptions.model_fields) - set(vllm_arguments.OURS)
    set_always = {
        "model",
        "dtype",
        "seed",
        "skip_tokenizer_init",
        "generation_config",
        "disable_log_stats",
        "worker_extension_cls",
        "load_format",
        "kv_cache_memory_bytes",
        "enable_mfu_metrics",
    }
    assert (ours | set_always) - set(contract["engine_arguments"]) == set()


@pytest.mark.slow
@pytest.mark.vllm
def test_the_contract_of_the_installed_version_is_what_its_source_says():
    installed = ".".join(map(str, vllm_arguments.version()))
    assert installed in vllm_contract.versions(), "python tests/vllm_contract.py FOLDER writes it"
    assert vllm_contract.extract(vllm_arguments.source_folder()) == vllm_contract.read(installed)
