"""TensorRT-LLM's contract over the versions, and that the adapter's table of words keeps to it."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import tensorrt_contract
from tensorrt_contract import VERSIONS, WITH_ENGINES

from pytest_lem.engines import registry
from pytest_lem.engines.child import tensorrt_arguments, tensorrt_records, tensorrt_words
from pytest_lem.engines.child.faults import Refused
from pytest_lem.engines.child.tensorrt_words import TABLE, WORDS
from pytest_lem.engines.tensorrt import TensorrtOptions
from pytest_lem.model.specs import EngineSpec

CHILD = Path(tensorrt_records.__file__).parent
GPU = "GPU-a"


def becomes(row: tuple, runtime: str) -> dict | None:
    """What a row of `EXPECTED` says; None where the runtime has no such thing."""
    return row[1 if runtime == "pytorch" else 2]


ON = {"enable_block_reuse": False}  # what is set where nobody asks otherwise
# A value for each word, and the keywords that it becomes: for the PyTorch runtime, and for the engine one.
EXPECTED = {
    "max_batch_size": (8, {"max_batch_size": 8}, {"max_batch_size": 8, "build_config": {"max_batch_size": 8}}),
    "max_input_len": (64, {"max_input_len": 64}, {"max_input_len": 64, "build_config": {"max_input_len": 64}}),
    "max_seq_len": (128, {"max_seq_len": 128}, {"max_seq_len": 128, "build_config": {"max_seq_len": 128}}),
    "max_num_tokens": (256, {"max_num_tokens": 256}, {"max_num_tokens": 256, "build_config": {"max_num_tokens": 256}}),
    "kv_cache_free_gpu_mem_fraction": (0.5, *[{"kv_cache_config": {**ON, "free_gpu_memory_fraction": 0.5}}] * 2),
    "enable_block_reuse": (True, *[{"kv_cache_config": {"enable_block_reuse": True}}] * 2),
    "kv_cache_dtype": (
        "fp8",
        {"kv_cache_config": {**ON, "dtype": "fp8"}},
        {"quant_config": {"kv_cache_quant_algo": "fp8"}},
    ),
    "enable_trt_overlap": (True, {"disable_overlap_scheduler": False}, None),
    "cuda_graphs": (True, {"cuda_graph_config": {}}, {"extended_runtime_perf_knob_config": {"cuda_graph_mode": True}}),
    "cuda_graph_batch_sizes": ([1, 8], {"cuda_graph_config": {"batch_sizes": [1, 8]}}, None),
    "cuda_graph_padding": (True, {"cuda_graph_config": {"enable_padding": True}}, None),
    "quantization": ("8bit", None, {"quant_config": {"quant_algo": "W8A16"}}),
    "batching_type": ("STATIC", None, {"batching_type": "STATIC"}),
    "fast_build": (True, None, {"fast_build": True}),
    "engine_cache": ("/cache", None, {"enable_build_cache": {"cache_root": "/cache"}}),
    "enable_chunked_prefill": (True, *[{"enable_chunked_prefill": True}] * 2),
    "load_format": ("dummy", *[{"load_format": "dummy"}] * 2),
    "tensor_parallel_size": (2, *[{"tensor_parallel_size": 2}] * 2),
    "pipeline_parallel_size": (2, *[{"pipeline_parallel_size": 2}] * 2),
}
EVERY = [
    (name, runtime) for name, row in EXPECTED.items() for runtime in ("pytorch", "engine") if becomes(row, runtime)
]
NAMES = [f"{name}-{runtime}" for name, runtime in EVERY]
# Every translated name of the table, once.
PATHS = [(word, runtime, path) for word in WORDS for runtime in tensorrt_words.RUNTIMES for path in word.paths(runtime)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that holds the stand-in of a version, made once."""
    return cache(lambda version: tensorrt_contract.install(tmp_path_factory.mktemp("site") / version, version))


@pytest.fixture
def install(site, monkeypatch):
    """Puts the stand-in of a version on the path; names are read from it, and nothing imports it."""
    monkeypatch.delitem(sys.modules, "tensorrt_llm", raising=False)

    def install(version: str) -> Path:
        monkeypatch.syspath_prepend(site(version))
        return site(version)

    return install


def request(precision="bfloat16", source="folder", **options) -> dict:
    spec = registry.validate(EngineSpec(backend="tensorrt", options=options, gpus=1))
    known = {"source": source, "precision": precision, "device": "cuda", "gpus": [GPU], "seed": 0}
    return {**known, "location": "/model", "model": "m", "options": spec.options}


def arguments(runtime: str = "pytorch", **options) -> dict:
    return tensorrt_arguments.engine_arguments(request(runtime=runtime, **options), "/model")


def test_the_typed_options_are_the_tables_words_and_three_of_ours():
    assert set(TensorrtOptions.model_fields) == {*TABLE, *tensorrt_arguments.OURS, "max_output_len"}
    assert set(EXPECTED) == set(TABLE)


@pytest.mark.parametrize(("name", "runtime"), EVERY, ids=NAMES)
@pytest.mark.parametrize("version", VERSIONS)
def test_each_word_becomes_the_keywords_that_its_version_has(install, version, name, runtime):
    install(version)
    value = EXPECTED[name][0]
    if runtime == "engine" and version not in WITH_ENGINES:
        with pytest.raises(Refused, match=r"runtime='engine' needs tensorrt_llm 1.0 to 1.2"):
            arguments(runtime, **{name: value})
        return
    assert arguments(runtime, **{name: value}) == {**arguments(runtime), **becomes(EXPECTED[name], runtime)}


@pytest.mark.parametrize("word", ["8bit", "8-bit", "4bit", "4-bit", "W4A16_AWQ"])
@pytest.mark.parametrize("version", WITH_ENGINES)
def test_bits_are_algorithms_that_weigh_alone_and_an_algorithm_is_itself(install, version, word):
    install(version)
    algorithm = {"8": "W8A16", "4": "W4A16"}.get(word[0], word)
    assert arguments("engine", quantization=word)["quant_config"] == {"quant_algo": algorithm}
    assert algorithm in tensorrt_contract.read(version)["quant_algos"]


@pytest.mark.parametrize(("word", "runtime", "path"), PATHS, ids=[f"{w.name}-{r}-{p}" for w, r, p in PATHS])
@pytest.mark.parametrize("version", WITH_ENGINES)
def test_a_mutation_of_any_translated_name_is_seen(install, monkeypatch, version, word, runtime, path):
    """The last letter of each name is dropped: the contract has no such name, so it never reaches an engine."""
    install(version)
    parts = path.split(".")
    for place in range(len(parts)):
        mutated = ".".join(part[:-1] if index == place else part for index, part in enumerate(parts))
        paths = tuple(mutated if each == path else each for each in word.paths(runtime))
        monkeypatch.setitem(TABLE, word.name, replace(word, **{runtime: paths}))
        with pytest.raises(Refused, match="did you mean"):
            arguments(runtime, **{word.name: EXPECTED[word.name][0]})


SCRIPT = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import importlib.util, types
package = types.ModuleType("lem_child"); package.__path__ = [sys.argv[2]]; sys.modules["lem_child"] = package
from lem_child import tensorrt_driver
arguments, runtime = json.loads(sys.argv[3])
tensorrt_driver.open_llm(arguments, runtime)
"""


@pytest.mark.parametrize(
    ("given", "runtime", "told"),
    [
        ({"max_batch_sizes": 1}, "pytorch", "LLM got invalid argument: max_batch_sizes"),
        ({"kv_cache_config": {"oops": 1}}, "pytorch", "KvCacheConfig: oops: Extra inputs are not permitted"),
        ({"build_config": {"oops": 1}}, "engine", "BuildConfig: oops: Extra inputs are not permitted"),
        (
            {"build_config": {"max_batch_size": 1}},
            "pytorch",
            "specific to TensorRT backend and cannot be used with PyT",
        ),
        ({"disable_overlap_scheduler": True}, "engine", "LLM got invalid argument: disable_overlap_scheduler"),
        ({"kv_cache_config": {"dtype": "fp8"}}, "engine", "KvCacheConfig.dtype is not supported by the TensorRT"),
        ({"quant_config": {"quant_algo": "W9"}}, "engine", "Refused: tensorrt: quant_algo='W9' is none of W8A16, "),
        ({"load_format": "dumy"}, "pytorch", "Invalid LoadFormat: dumy"),
        ({"max_batch_size": "8"}, "pytorch", "TorchLlmArgs: max_batch_size: Input should be Optional[int], not '8'"),
        ({"enable_chunked_prefill": 1}, "pytorch", "enable_chunked_prefill: Input should be bool, not 1"),
        ({"attn_backend": None}, "pytorch", "TorchLlmArgs: attn_backend: Input should be str, not None"),
        ({"kv_cache_config": {"tokens_per_block": 0.5}}, "pytorch", "tokens_per_block: Input should be int, not 0.5"),
        ({"cuda_graph_config": {"batch_sizes": ["1"]}}, "pytorch", "Input should be Optional[List[int]], not ['1']"),
        (
            {"guided_decoding_backend": "xgramar"},
            "pytorch",
            "Input should be Optional[Literal['xgrammar', 'llguidance']]",
        ),
        ({"moe_config": {"backend": "NONE"}}, "pytorch", "MoeConfig: backend: Input should be Literal['CUTLASS'"),
        (
            {"scheduler_config": {"capacity_scheduler_policy": 1}},
            "pytorch",
            "Input should be CapacitySchedulerPolicy, not 1",
        ),
        ({"batching_type": 1}, "engine", "TrtLlmArgs: batching_type: Input should be Optional[BatchingType], not 1"),
        (
            {"build_config": {"max_batch_size": True}},
            "engine",
            "BuildConfig: max_batch_size: Input should be int, not True",
        ),
    ],
)
def test_the_stand_in_refuses_what_the_contract_does_not_name(tmp_path, site, given, runtime, told):
    (tmp_path / "config.json").write_text("{}")
    asked = json.dumps([{"model": str(tmp_path), **given}, runtime])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(site("1.2")), str(CHILD), asked],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told in done.stderr
    assert done.returncode == 1


BEHAVIOUR = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tensorrt_llm import LLM, SamplingParams

def said(call):
    try:
        return call()
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"

llm = LLM(model=sys.argv[2], skip_tokenizer_init=True, max_num_tokens=4)
full = dict(max_tokens=2, end_id=-1, ignore_eos=True)
def one(prompt, **given):
    return llm.generate(inputs={"prompt_token_ids": prompt}, sampling_params=SamplingParams(**given)).outputs[0]
print(json.dumps({
    "positional": said(lambda: SamplingParams(2)),
    "unknown": said(lambda: SamplingParams(max_token=2)),
    "method": said(lambda: llm.generate(prompts=[[1]])),
    "end_id": said(lambda: one([1], max_tokens=2)),
    "long": said(lambda: one([1] * 5, **full)),
    "unasked": one([1], **full).request_perf_metrics is None,
    "asked": one([1], return_perf_metrics=True, **full).request_perf_metrics is None,
    "closed": [llm.shutdown(), said(lambda: one([1], **full))][1],
}))
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stand_in_behaves_as_the_documentation_tells(tmp_path, site, version):
    (tmp_path / "config.json").write_text('{"vocab_size": 8, "torch_dtype": "bfloat16"}')
    done = subprocess.run(
        [sys.executable, "-c", BEHAVIOUR, str(site(version)), str(tmp_path)], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert said["positional"].startswith("TypeError: SamplingParams.__init__() takes 1 positional argument")
    assert said["unknown"] == "ValueError: SamplingParams: max_token: Extra inputs are not permitted"
    assert said["method"].startswith("TypeError: ")
    assert said["end_id"].startswith("ValueError: tokenizer is required to reset end_id if it is None")
    assert "should not exceed max_num_tokens (4)" in said["long"]
    assert said["unasked"] is True
    assert said["asked"] is (version == "1.0")  # its PyTorch runtime gives none
    assert said["closed"] == "RuntimeError: LLM is shutting down"


def test_nothing_asked_for_means_the_pytorch_runtime_without_reuse_of_blocks(install):
    install("1.2")
    assert arguments() == {
        "model": "/model",
        "dtype": "bfloat16",
        "skip_tokenizer_init": True,
        "return_perf_metrics": True,
        "kv_cache_config": {"enable_block_reuse": False},
    }


def test_before_1_1_metrics_are_asked_for_with_each_request_alone(install):
    install("1.0")
    assert "return_perf_metrics" not in arguments()


def test_lengths_of_input_and_output_make_the_one_length_that_there_is(install):
    install("1.2")
    assert arguments(max_input_len=64, max_output_len=32)["max_seq_len"] == 96
    built = arguments("engine", max_input_len=64, max_output_len=32)["build_config"]
    assert built == {"max_input_len": 64, "max_seq_len": 96}
    assert arguments(max_input_len=64, max_output_len=32, max_seq_len=96)["max_seq_len"] == 96


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"max_input_len": 64, "max_output_len": 32, "max_seq_len": 100},
            "max_seq_len=100 is not max_input_len + max_o",
        ),
        ({"max_output_len": 32}, "max_output_len needs max_input_len beside it"),
    ],
)
def test_lengths_that_contradict_each_other_are_refused_before_anything_starts(asked, told):
    with pytest.raises(Exception, match=re.escape(told)):
        request(**asked)


@pytest.mark.parametrize("word", [word for word in WORDS if word.why], ids=lambda word: word.name)
def test_a_word_that_a_runtime_lacks_is_refused_with_what_to_take_instead(word):
    runtime = "pytorch" if not word.pytorch else "engine"
    with pytest.raises(Exception, match="with runtime=") as caught:
        registry.validate(
            EngineSpec(backend="tensorrt", options={"runtime": runtime, word.name: EXPECTED[word.name][0]})
        )
    assert word.why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_of_its_own_passes_and_an_unknown_one_is_told_with_the_nearest(install):
    install("1.2")
    assert arguments(attn_backend="FLASHINFER")["attn_backend"] == "FLASHINFER"
    with pytest.raises(Refused, match="unknown option 'attn_backand'; did you mean 'attn_backend'"):
        arguments(attn_backand="x")


def test_an_unknown_field_of_a_section_is_told_though_some_sections_drop_it_in_silence(install):
    install("1.2")
    with pytest.raises(Refused, match="build_config: unknown field 'max_batchsize'; did you mean 'max_batch_size'"):
        arguments("engine", build_config={"max_batchsize": 8})


def test_a_section_and_a_word_for_the_same_field_must_agree(install):
    install("1.2")
    assert arguments(kv_cache_config={"enable_block_reuse": True})["kv_cache_config"] == {"enable_block_reuse": True}
    with pytest.raises(Refused, match=r"free_gpu_memory_fraction is 0\.4 in kv_cache_config, and another option makes"):
        arguments(kv_cache_config={"free_gpu_memory_fraction": 0.4}, kv_cache_free_gpu_mem_fraction=0.5)
    with pytest.raises(Refused, match="cuda_graph_config is turned off by one option and given by another"):
        arguments(cuda_graphs=False, cuda_graph_config={"batch_sizes": [1]})


@pytest.mark.parametrize(
    "name", ["model", "dtype", "tokenizer", "skip_tokenizer_init", "backend", "return_perf_metrics"]
)
def test_what_is_said_elsewhere_is_refused_as_an_option(install, name):
    install("1.2")
    with pytest.raises(Refused, match=f"option '{name}' cannot be given: "):
        arguments(**{name: "auto"})


def test_a_version_that_is_too_old_is_refused(monkeypatch):
    with pytest.raises(Refused, match=r"tensorrt_llm 0.21 is too old: this adapter drives 1.0 and newer"):
        tensorrt_arguments.check_version((0, 21), "pytorch")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_call_of_the_driver_is_one_that_the_version_takes(version):
    contract = tensorrt_contract.read(version)
    tree = ast.parse((CHILD / "tensorrt_driver.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    for method in ("generate", "generate_async", "shutdown"):
        (call,) = (call for call in calls if ast.unparse(call.func) == f"self.llm.{method}")
        assert call.args == []
        given = {keyword.arg for keyword in call.keywords}
        assert given <= set(contract["methods"][f"LLM.{method}"]["parameters"])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_parameter_of_sampling_is_one_that_the_version_takes(version):
    known = tensorrt_contract.read(version)["classes"]["SamplingParams"]["fields"]
    from_source = ast.parse((CHILD / "tensorrt_sampling.py").read_text())
    (call,) = (
        node
        for node in ast.walk(from_source)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "SamplingParams"
    )
    assert call.args == []
    assert {keyword.arg for keyword in call.keywords if keyword.arg} <= set(known)
    literal = {node.value for node in ast.walk(from_source) if isinstance(node, ast.Constant)}
    assert {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed"} <= literal & set(known)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stamps_that_are_read_are_the_versions(version):
    told = tensorrt_contract.read(version)["attributes"]
    source = inspect.getsource(tensorrt_records.engine_times)
    assert all(f'"{name}"' in source for name in told["TimingMetrics"])
    assert "request_perf_metrics" in told["CompletionOutput"]
    assert ("cached_tokens" in told["RequestOutput"]) is (version in ("1.2", "newest"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"moe_config": {"bakend": "TRTLLM"}}, "moe_config: unknown field 'bakend'; did you mean 'backend'"),
        (
            {"scheduler_config": {"capacity_polcy": "STATIC_BATCH"}},
            "scheduler_config: unknown field 'capacity_polcy'; did you mean 'capacity_scheduler_policy'",
        ),
        (
            {"scheduler_config": {"dynamic_batch_config": {"enable_batch_tuning": True}}},
            "scheduler_config.dynamic_batch_config: unknown field 'enable_batch_tuning'; did you mean 'enable_ba",
        ),
        ({"kv_cache_config": {"dtyp": "fp8"}}, "kv_cache_config: unknown field 'dtyp'; did you mean 'dtype'"),
        ({"cuda_graph_config": {"paddin": True}}, "cuda_graph_config: unknown field 'paddin'"),
    ],
)
def test_a_field_of_any_section_is_checked_against_the_versions_own_class(install, version, section, told):
    install(version)
    with pytest.raises(Refused, match=re.escape(told)):
        arguments(**section)


@pytest.mark.parametrize("version", VERSIONS)
def test_sections_that_a_version_knows_pass_as_they_are(install, version):
    install(version)
    asked = {
        "moe_config": {"backend": "CUTLASS", "max_num_tokens": 64},
        "scheduler_config": {"dynamic_batch_config": {"enable_batch_size_tuning": True}},
        "env_overrides" if version in ("1.2", "newest") else "cp_config": {"ANY": "1"},
    }
    assert arguments(**asked).items() >= asked.items()


@pytest.mark.parametrize("version", ["1.1", "1.2", "newest"])
def test_a_cache_of_blocks_may_have_their_size(install, version):
    install(version)
    assert arguments(kv_cache_config={"tokens_per_block": 64})["kv_cache_config"]["tokens_per_block"] == 64


@pytest.mark.parametrize("version", WITH_ENGINES)
@pytest.mark.parametrize("section", ["build_config", "quant_config", "extended_runtime_perf_knob_config"])
def test_sections_of_a_built_engine_lie_in_other_files_and_are_checked_there(install, version, section):
    install(version)
    with pytest.raises(Refused, match=f"{section}: unknown field 'oops'; did you mean "):
        arguments("engine", **{section: {"oops": 1}})


def test_a_source_that_is_another_than_expected_is_told(tmp_path, monkeypatch):
    place = tensorrt_contract.install(tmp_path / "later", "newest")
    source = place / "tensorrt_llm" / "llmapi" / "llm_args.py"
    source.write_text(source.read_text().replace("class TorchLlmArgs", "class LlmArgs"))
    monkeypatch.delitem(sys.modules, "tensorrt_llm", raising=False)
    monkeypatch.syspath_prepend(place)
    with pytest.raises(Refused, match=r"tensorrt_llm 1.4 has no TorchLlmArgs in llmapi/llm_args.py"):
        arguments()
