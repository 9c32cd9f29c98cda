"""Kernels, caches, compilation, assistance and quantisation of the real PyTorch engine, on the CPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_starts import spec

from pytest_lem.arithmetic import arithmetic_of
from pytest_lem.engines import registry
from pytest_lem.engines.observed import check_observed
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.work import build_work

LAB = Path(__file__).with_name("pytorch_lab.py")
# synthetic:tiny: what quantisers leave alone (embedding, head, norms), and the rest, in 14 linear layers of 2048 rows.
LEFT, MADE, ROWS = 262_784, 294_912, 2048


def lab(group, folder):
    done = subprocess.run(
        [sys.executable, str(LAB), group, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return lab("kernels", tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    for package in ("bitsandbytes", "torchao"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    return lab("quantised", tmp_path_factory.mktemp("quantised"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return lab("stored", tmp_path_factory.mktemp("stored"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return lab("compiled", tmp_path_factory.mktemp("compiled"))


def runs_as_asked(case):
    return check_observed(case["request"], case["observed"]) is None


def difference(case):
    return check_observed(case["request"], case["observed"]).removeprefix("does not run as asked: ")


def made(case):
    return [run["token_ids"] for run in case["runs"]]


# What is asked of it, before any process starts.


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"attention_implementation": "flash"},
            "option attention_implementation='flash': expected eager, sdpa, flex_attention, flash_attention_2, "
            "flash_attention_3, or a hub kernel's owner/name",
        ),
        (
            {"torch_compile": "reduce-overhead"},
            "torch_compile='reduce-overhead' records CUDA graphs, which want addresses that stay; "
            "take cache_implementation='static', or another mode",
        ),
        (
            {"torch_compile_backend": "inductor"},
            "torch_compile_backend is about torch_compile; say torch_compile=True beside it",
        ),
        (
            {"prompt_lookup_num_tokens": 3, "assistant_model": "synthetic:tiny"},
            "prompt_lookup_num_tokens and assistant_model both draft tokens; keep one of them",
        ),
        ({"num_assistant_tokens": 3}, "num_assistant_tokens is about an assistant; name assistant_model beside it"),
        (
            {"prompt_lookup_num_tokens": 3, "use_cache": False},
            "assisted generation needs the cache; leave use_cache=False out",
        ),
        (
            {"prompt_lookup_num_tokens": 3, "cache_implementation": "static"},
            "assisted generation takes tokens back, which transformers' static cache cannot; "
            "leave cache_implementation='static' out",
        ),
        (
            {"prompt_lookup_num_tokens": 3, "torch_compile": True},
            "assisted generation has another shape at every step; leave torch_compile out",
        ),
        (
            {"cache_implementation": "static", "use_cache": False},
            "cache_implementation is about a cache; leave use_cache=False out",
        ),
        ({"tf32": True, "matmul_precision": "high"}, "tf32 and matmul_precision say the same thing; keep one of them"),
        (
            {"quantization": "4bit", "gguf_file": "a.gguf"},
            "quantization is made of weights as they are; a gguf_file is dequantised: keep one of them",
        ),
        *(
            (
                {"tensor_parallel_size": 2, **other},
                "a model that ranks share is neither compiled, quantised nor assisted here, and its cache grows; "
                "keep tensor_parallel_size and pipeline_parallel_size by themselves",
            )
            for other in (
                {"quantization": "8bit"},
                {"torch_compile": True},
                {"cache_implementation": "static"},
                {"prompt_lookup_num_tokens": 3},
            )
        ),
    ],
)
def test_options_that_cannot_be_had_are_one_line_before_anything_starts(options, line):
    with pytest.raises(UsageError) as caught:
        spec("pytorch", options=options)
    assert str(caught.value) == f"pytorch: {line}"


def test_an_assistant_that_is_not_there_is_told_with_the_nearest():
    with pytest.raises(UsageError, match=r"option assistant_model: unknown model 'synthetic:tini'; did you mean 'synt"):
        spec("pytorch", options={"assistant_model": "synthetic:tini"})


@pytest.mark.parametrize(
    ("options", "workload", "line"),
    [
        (
            {"prompt_lookup_num_tokens": 3},
            {"batch": 2},
            "batch: backend 'pytorch': prompt_lookup_num_tokens: transformers assists one request at a time; take batc",
        ),
        (
            {"torch_compile": True},
            {"target_qps": 2.0},
            "target_qps: backend 'pytorch': torch_compile is for groups of requests that are known in advance; leave",
        ),
        (
            {"cache_implementation": "static"},
            {"traffic": {"concurrency": 2, "requests": 4}},
            "traffic: backend 'pytorch': cache_implementation is for groups",
        ),
        (
            {"attention_implementation": "flex_attention"},
            {"target_qps": 2.0},
            "target_qps: backend 'pytorch': attention_implementation is for groups",
        ),
    ],
)
def test_work_that_the_options_cannot_do_is_one_line(options, workload, line):
    asked = spec("pytorch", options=options)
    with pytest.raises(UsageError) as caught:
        registry.check_workload(asked, WorkloadSpec(**workload))
    assert str(caught.value).startswith(line)


def test_options_that_change_no_shape_go_with_traffic():
    asked = spec("pytorch", options={"torch_compile": False, "cache_implementation": "dynamic", "quantization": "4bit"})
    registry.check_workload(asked, WorkloadSpec(target_qps=2.0))


# Kernels and caches.


@pytest.mark.torch
def test_a_static_cache_gives_the_tokens_of_the_one_that_grows(kernels):
    plain, static = kernels["cases"]["plain"], kernels["cases"]["static"]
    assert runs_as_asked(static)
    assert made(static)[0] == made(plain)[0]
    assert (plain["options"]["cache_implementation"], static["options"]["cache_implementation"]) == (
        "dynamic",
        "static",
    )
    assert static["options"]["torch_compile"] is False  # transformers compiles it by itself on a GPU only


@pytest.mark.torch
@pytest.mark.parametrize("way", ["lookup", "assisted"])
def test_drafted_tokens_change_neither_the_answer_nor_its_length(kernels, way):
    plain, drafted = kernels["cases"]["plain"], kernels["cases"][way]
    assert runs_as_asked(drafted)
    assert made(drafted) == made(plain)[2:]
    assert [len(answer) for (answer,) in made(drafted)] == [1, 2, 3, 12]
    assert [run["tokens"] for run in drafted["runs"]] == [2, 4, 6, 24]


@pytest.mark.torch
def test_drafts_are_counted_and_those_that_the_model_took(kernels):
    counters = [run["counters"] for run in kernels["cases"]["assisted"]["runs"]]
    # It is its own assistant: nothing that it drafts is wrong. Two passes each; the last draft takes what room is left.
    assert [each["draft_tokens"] for each in counters] == [0, 2 * 1, 2 * 2, 2 * (4 + 4 + 1)]
    assert all(each["accepted_tokens"] == each["draft_tokens"] for each in counters)
    assert "draft_tokens" not in kernels["cases"]["plain"]["runs"][0]["counters"]


@pytest.mark.torch
def test_an_assistant_drafts_as_many_tokens_at_a_time_as_it_is_asked_for_in_every_round(kernels):
    six, open_ = kernels["cases"]["six"], kernels["cases"]["open"]
    assert runs_as_asked(six)
    assert six["options"]["num_assistant_tokens"] == 6
    # Fourteen tokens in two passes: twice six drafts, and one token of the model's own after each.
    assert [run["counters"]["draft_tokens"] for run in six["runs"]] == [2 * 12, 2 * 12]
    # Where it is left open, transformers' own number holds: 20 drafts and one token more.
    assert open_["options"]["num_assistant_tokens"] == 20
    assert open_["runs"][0]["counters"]["draft_tokens"] == 2 * 20


@pytest.mark.torch
def test_a_draft_that_the_model_throws_away_is_not_accepted(kernels):
    told = kernels["often_wrong"]
    assert told["token_ids"] == made(kernels["cases"]["plain"])[1]
    # Each of its passes makes one token of its own, beside the drafts that it takes.
    assert told["accepted_tokens"] == told["tokens"] - told["passes"]
    assert told["accepted_tokens"] < told["draft_tokens"]


@pytest.mark.torch
@pytest.mark.parametrize("way", ["lookup_hooked", "assisted_hooked"])
def test_tokens_that_come_several_at_once_have_a_time_each(kernels, way):
    (run,) = kernels["cases"][way]["runs"]
    assert run["token_ids"] == made(kernels["cases"]["plain"])[1]
    assert [len(times["gaps_ms"]) for times in run["request_times"]] == [11, 11]
    assert all(times["ttft_ms"] > 0 and min(times["gaps_ms"]) >= 0 for times in run["request_times"])
    if way == "assisted_hooked":  # drafted and taken with the first
        assert run["request_times"][0]["gaps_ms"][0] == 0


@pytest.mark.torch
def test_the_arithmetic_is_set_and_read_back(kernels):
    case = kernels["cases"]["arithmetic"]
    assert runs_as_asked(case)
    assert (case["options"]["matmul_precision"], case["options"]["deterministic"]) == ("high", True)
    plain = kernels["cases"]["plain"]["options"]
    assert (plain["matmul_precision"], plain["tf32"], plain["deterministic"]) == ("highest", False, False)
    assert made(case)[0] == made(kernels["cases"]["plain"])[0]
    # Without it cuBLAS raises in deterministic mode.
    assert kernels["workspace"] == ":4096:8"


@pytest.mark.torch
def test_tf32_sets_how_float32_is_multiplied_on_a_gpu(kernels):
    assert kernels["tf32"] == {"True": ["high", True], "False": ["highest", False]}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("other_cache", "cache_implementation: asked 'static', observed 'dynamic'"),
        ("nothing_looked_up", "prompt_lookup_num_tokens: asked 3, observed None"),
        ("other_lookup", "prompt_lookup_num_tokens: asked 3, observed 5"),
        ("other_assistant", "assistant_model: asked 'synthetic:tiny', observed None"),
        ("short_drafts", "num_assistant_tokens: asked 4, observed 1"),
        ("other_precision", "matmul_precision: asked 'high', observed 'medium'"),
        ("not_deterministic", "deterministic: asked True, observed False"),
        (
            "hub_that_is_sdpa",
            "attention_implementation: asked 'someone/kernel', observed 'someone/kernel+sdpa'",
        ),
    ],
)
def test_what_runs_otherwise_is_seen(kernels, name, words):
    assert difference(kernels["falsified"][name]) == words


@pytest.mark.torch
def test_an_attention_whose_kernel_was_never_called_is_not_taken_at_its_word(kernels):
    assert kernels["belied"] == {
        "flex_attention": "no flex call, though configured",
        "flash_attention_2": "no flash call, though configured",
        "flash_attention_3": "no flash call, though configured",
        "eager": "sdpa",
        "sdpa": "sdpa",
        "someone/kernel": "no hub kernel call, though configured",
        "both": ["flash_attention_2+sdpa", "someone/kernel+sdpa"],
    }


@pytest.mark.torch
def test_a_hub_kernel_is_told_by_the_calls_of_what_is_registered_under_its_name(kernels):
    assert runs_as_asked(kernels["cases"]["hub"])
    assert kernels["cases"]["hub"]["options"]["attention_implementation"] == "someone/kernel"


@pytest.mark.torch
def test_a_kernel_of_a_gpu_is_told_by_the_calls_that_transformers_made_of_it(kernels):
    names = ("flex_attention", "flash_attention_2", "flash_attention_3")
    assert kernels["counted"] == {name: name for name in names}


HERE = "eager and sdpa are here"
ON_GPU = "eager, sdpa and flex_attention are here"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "flash",
            f"attention_implementation='flash_attention_3' needs a GPU of compute capability 9.0; {HERE}",
        ),
        (
            "flex",
            "attention_implementation='flex_attention' needs a GPU: torch's code for a CPU does not compile for every "
            f"shape; {HERE}",
        ),
        ("compiler", "torch_compile: inductor needs a C++ compiler for a CPU; install g++, or name it in CXX"),
        (
            "hub",
            "attention_implementation='kernels-community/flash-attn2' comes from the hub by the package 'kernels', "
            f"which is not installed; {HERE}",
        ),
        (
            "hub_package",
            "attention_implementation='nobody/nothing' cannot be loaded here: `kernels` is either not installed or "
            "uses an incompatible version.",
        ),
        (
            "hub_repository",
            "attention_implementation='nobody/nothing' cannot be loaded here: An error occurred while trying to load "
            f"from 'nobody/nothing': no such repository; {HERE}",
        ),
        ("hub_without", "attention_implementation='nobody/nothing' cannot be loaded here: "),
        (
            "flash2",
            f"attention_implementation='flash_attention_2' needs a GPU of compute capability 8.0; {HERE}",
        ),
        ("tf32", "tf32=True needs a GPU; leave it out, or ask for device 'cuda'"),
        ("backend", "torch_compile_backend='tvn' is not here; torch has "),
        ("graphs", "torch_compile='reduce-overhead' records CUDA graphs, which a CPU does not have; take 'default'"),
        (
            "tuned_graphs",
            "torch_compile='max-autotune' records CUDA graphs, which a CPU does not have; take "
            "'max-autotune-no-cudagraphs'",
        ),
        (
            "mode",
            "torch_compile='max-autotune-no-cudagraphs' is a mode of inductor, not of 'eager'; say torch_compile=True",
        ),
        (
            "vocabulary",
            "assistant_model='synthetic:qwen2.5-0.5b' has a vocabulary of 151936 tokens, the model 1024; "
            "take one with the same tokenizer",
        ),
        ("batch", "transformers assists one request at a time; take batch 1"),
        ("endless", "torch_compile still compiles in pass 8; ask for prompts and answers of equal lengths"),
    ],
)
def test_what_cannot_be_had_here_is_one_line_before_a_model_is_made(kernels, name, words):
    assert kernels["refused"][name].startswith(f"pytorch: {words}")
    assert "\n" not in kernels["refused"][name]
    if name.startswith(("hub", "fl")):
        assert kernels["refused"][name].endswith(f"; {HERE}")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "flash2",
            "attention_implementation='flash_attention_2' needs the package 'flash-attn', which is not installed; "
            f"{ON_GPU}",
        ),
        (
            "flash2_old",
            "attention_implementation='flash_attention_2' needs compute capability 8.0 or newer, this GPU has 7.5; "
            f"{ON_GPU}",
        ),
        (
            "flash3",
            "attention_implementation='flash_attention_3' needs the package 'flash-attn-3', which is not installed; "
            f"{ON_GPU}",
        ),
        (
            "flash3_old",
            f"attention_implementation='flash_attention_3' needs compute capability 9.0, this GPU has 8.9; {ON_GPU}",
        ),
        (
            "flash3_new",
            f"attention_implementation='flash_attention_3' needs compute capability 9.0, this GPU has 10.0; {ON_GPU}",
        ),
        *(
            (
                f"flash{number}_float32",
                f"attention_implementation='flash_attention_{number}' has kernels of float16 and bfloat16 alone; take "
                f"one of these; {ON_GPU}",
            )
            for number in (2, 3)
        ),
        ("triton", "torch_compile: inductor needs triton for a GPU, which is not installed; install triton"),
        ("tf32", "tf32=True needs compute capability 8.0 or newer, this GPU has 7.5; leave it out"),
        (
            "int4_old",
            "quantization='int4_weight_only' needs compute capability 8.0 or newer, this GPU has 7.5; take '4bit'",
        ),
        (
            "int4_precision",
            "quantization='int4_weight_only' computes in bfloat16 alone; take precision bfloat16, or '4bit'",
        ),
    ],
)
def test_what_a_gpu_lacks_is_one_line_with_what_is_there(kernels, name, words):
    assert kernels["gpu"][name] == f"pytorch: {words}"


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", ["flash2_here", "flash2_float16", "flash3_here", "flex_here", "triton_here", "int4_here"]
)
def test_what_a_gpu_has_is_not_refused(kernels, name):
    assert kernels["gpu"][name] is None


# Compilation.


@pytest.mark.torch
def test_a_mode_is_told_by_the_settings_that_torch_made_of_it(kernels):
    assert len(kernels["modes"]) == 4
    assert all(asked == found for asked, found in kernels["modes"].items())


@pytest.mark.torch
def test_passes_are_run_until_one_compiles_nothing_three_at_least(kernels):
    assert kernels["passes"] == {"none": [0, 3], "first": [1, 3], "to_the_fourth": [4, 5]}


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("way", ["compiled", "static_compiled"])
def test_a_compiled_model_gives_the_tokens_of_the_plain_one_and_compiles_nothing_in_a_run(compiled, way):
    case = compiled["cases"][way]
    assert runs_as_asked(case)
    assert made(case) == made(compiled["cases"]["plain"])
    assert (case["options"]["torch_compile"], case["options"]["torch_compile_backend"]) == (True, "eager")
    assert compiled["cases"]["plain"]["options"]["torch_compile"] is False


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("not_compiled", "torch_compile: asked True, observed False"),
        ("compiled_by_another", "torch_compile_backend: asked 'eager', observed 'aot_eager'"),
        ("not_compiled_by_generate", "torch_compile: asked True, observed False"),
    ],
)
def test_what_is_not_compiled_as_asked_is_seen(compiled, name, words):
    assert difference(compiled["falsified"][name]) == words


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("cache", ["growing", "static"])
def test_each_work_is_compiled_for_its_own_shapes(compiled, cache):
    first, second, third, first_again = compiled["graphs"][cache]
    assert first == first_again > 0  # not left over, and no graph for any shape
    assert (second, third) == (first, first)


@pytest.mark.torch
@pytest.mark.slow
def test_a_run_in_which_something_compiles_is_no_run(compiled):
    assert compiled["refused"]["within"] == "torch compiled 1 graphs within a run: its joules are no work's"


@pytest.mark.torch
@pytest.mark.slow
def test_inductor_gives_the_tokens_of_the_plain_model_and_tells_of_graphs_that_it_left_out(tmp_path):
    cases = lab("inductor", tmp_path)["cases"]
    for name in ("compiled", "static_compiled"):
        assert runs_as_asked(cases[name])
        assert made(cases[name]) == made(cases["plain"])
        assert cases[name]["observed"]["notes"] == []
    assert cases["compiled"]["options"]["torch_compile_backend"] == "inductor"
    # As nothing but a GPU has them: torch leaves them out in silence, and counts.
    (note,) = cases["recording"]["observed"]["notes"]
    assert re.fullmatch(r"torch left out \d+ CUDA graphs that it was to record \(TORCH_LOGS=\w+ says why\)", note)


# Quantisation.


@pytest.mark.torch
@pytest.mark.parametrize(
    ("word", "layers"),
    [
        ("4bit", "Linear4bit uint8"),
        ("8bit", "Linear8bitLt int8"),
        ("int8_weight_only", "Linear Int8Tensor"),
        ("int8_dynamic_activation_int8_weight", "Linear Int8Tensor"),
        ("float8_weight_only", "Linear Float8Tensor"),
    ],
)
def test_weights_are_quantised_as_asked_and_what_ran_is_read_from_the_layers(quantised, word, layers):
    case = quantised["cases"][word]
    assert runs_as_asked(case)
    assert case["observed"]["linear_layers"] == {layers: 14, "Linear bfloat16": 1}
    assert case["observed"]["precision"] == "bfloat16"
    assert [len(answer) for answer in made(case)[0]] == [12, 12]
    assert made(case) != made(quantised["cases"]["plain"])


@pytest.mark.torch
def test_bytes_are_those_in_memory_with_their_scales_and_parameters_are_the_models(quantised):
    observed = {name: case["observed"] for name, case in quantised["cases"].items()}
    assert {each["parameters"] for each in observed.values()} == {LEFT + MADE}
    assert observed["plain"]["weights_bytes"] == 2 * (LEFT + MADE)
    # Half a byte each, a scale of two bytes for 64, and 16 values of four bytes a layer.
    assert observed["4bit"]["weights_bytes"] == 2 * LEFT + MADE // 2 + 2 * MADE // 64 + 14 * 16 * 4
    assert observed["8bit"]["weights_bytes"] == 2 * LEFT + MADE + 4 * ROWS
    assert observed["float8_weight_only"]["weights_bytes"] == 2 * LEFT + MADE + 4 * ROWS
    for name, each in observed.items():
        assert quantised["cases"][name]["runs"][0]["counters"]["weights_bytes"] == each["weights_bytes"]


@pytest.mark.torch
def test_flops_of_quantised_layers_are_those_of_the_plain_model_and_the_bytes_of_a_step_are_fewer(quantised):
    work = build_work(WorkloadSpec(batch=2, prompt_tokens=16, output_tokens=8), 1024, lambda texts: [])
    cases = quantised["cases"]
    found = {
        name: arithmetic_of(spec("pytorch"), case["observed"], work, "analytic")
        for name, case in cases.items()
        if name != "stored"
    }
    plain = found.pop("plain")
    assert len(found) == 5
    for each in found.values():
        assert (each.method, each.prefill_flops) == ("analytic", plain.prefill_flops)
        assert each.decode_flops == plain.decode_flops
        assert each.weights_read_bytes < 0.8 * plain.weights_read_bytes
        assert each.kv_read_bytes == plain.kv_read_bytes
    # Each of the 7 steps reads all but the embedding of 1024 words, which has 16 bits whatever the layers have.
    for name, each in found.items():
        weights = cases[name]["observed"]["weights_bytes"]
        assert each.weights_read_bytes == pytest.approx(7 * (weights - 2 * 1024 * 128)), name


@pytest.mark.torch
def test_files_that_are_quantised_already_run_as_they_are(quantised):
    stored, fresh = quantised["cases"]["stored"], quantised["cases"]["4bit"]
    assert runs_as_asked(stored)
    assert stored["options"]["quantization"] == "4bit"
    assert made(stored) == made(fresh)
    assert stored["observed"]["weights_bytes"] == fresh["observed"]["weights_bytes"]


@pytest.mark.torch
@pytest.mark.parametrize(("name", "method"), [("compressed", "compressed-tensors"), ("mxfp4", "mxfp4")])
def test_files_that_transformers_dequantises_are_told_as_what_they_run_as(stored, name, method):
    if name == "compressed" and find_spec("compressed_tensors") is None:
        pytest.skip("compressed-tensors is not installed")
    observed = stored["cases"][name]["observed"]
    assert runs_as_asked(stored["cases"][name])
    assert (observed["options"]["quantization"], observed["linear_layers"]) == (None, {"Linear bfloat16": 15})
    assert observed["notes"] == [
        f"the model's files are quantised ({method}), but transformers dequantised them: its linear layers run in "
        "bfloat16"
    ]
    # Scales that stay beside the weights take their bytes, and are no parameters.
    assert observed["parameters"] == LEFT + MADE
    assert observed["weights_bytes"] >= 2 * (LEFT + MADE)


@pytest.mark.torch
def test_kernels_of_gptqmodel_are_called_as_their_files_are_but_those_that_narrow_activations_too(stored):
    assert stored["ways"] == {"MarlinLinear": "gptq", "AwqMarlinLinear": "awq", "W4AFP8Linear": "W4AFP8Linear"}


@pytest.mark.torch
def test_experts_that_are_quantised_in_their_files_are_told_by_what_holds_them(stored):
    assert stored["experts"] == {
        "plain": None,
        "packed": "Mxfp4GptOssExperts",
        "taken": "Mxfp4GptOssExperts",
        "narrow": "FP8Experts",
    }


@pytest.mark.torch
def test_files_that_run_as_they_are_have_no_such_note(stored, quantised):
    assert stored["cases"]["plain"]["observed"]["notes"] == []
    assert quantised["cases"]["stored"]["observed"]["notes"] == []


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "awq",
            "the model's files are quantised (awq), which cannot run here (here is bitsandbytes ",
        ),
        (
            "assistant",
            "the assistant's files are quantised (awq), which cannot run here (here is bitsandbytes ",
        ),
        (
            "broken",
            "the model's files are quantised (awq), which cannot run here (here is bitsandbytes ",
        ),
        (
            "compressed",
            "the model's files are quantised (compressed-tensors), which cannot run here (here is bitsandbytes ",
        ),
    ],
)
def test_files_whose_package_is_not_here_are_one_line_before_a_model_is_made(stored, name, words):
    assert stored["refused"][name].startswith(f"pytorch: {words}")
    assert re.search(r", torchao [\d.]+(, compressed-tensors [\d.]+)?\): \S+", stored["refused"][name])
    assert "\n" not in stored["refused"][name]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one_layer_left", "quantization: asked '4bit', observed '4bit+none'"),
        ("other_kind", "quantization: asked '4bit', observed 'fp4'"),
        ("other_compute", "precision: asked 'bfloat16', observed 'float32+bfloat16'"),
        ("other_quantiser", "quantization: asked '8bit', observed 'int8_weight_only'"),
        ("not_quantised", "quantization: asked '8bit', observed None"),
        ("experts_4bit", "quantization: asked '4bit', observed '4bit+none'"),
        ("experts_8bit", "quantization: asked '8bit', observed '8bit+none'"),
        ("experts_int8_weight_only", "quantization: asked 'int8_weight_only', observed 'int8_weight_only+none'"),
    ],
)
def test_weights_that_are_otherwise_are_seen(quantised, name, words):
    assert difference(quantised["falsified"][name]) == words


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "no_bitsandbytes",
            "quantization='4bit' needs bitsandbytes, which is not installed (no quantiser is here); "
            "install it with: pip install 'pytest-lem[quantization]'",
        ),
        ("no_torchao", "quantization='int8_weight_only' needs torchao, which is not installed (here is bitsandbytes "),
        (
            "int4",
            "quantization='int4_weight_only' needs a GPU; '4bit' (bitsandbytes) and 'int8_weight_only' run on this "
            "device",
        ),
        ("twice", "quantization='8bit': the model's files are quantised already (bitsandbytes); drop it"),
        (
            "gptq",
            "the model's files are quantised (gptq), which cannot run here (here is bitsandbytes ",
        ),
        (
            "groups",
            "quantization='int4_weight_only' takes groups of 128 inputs, and model.layers.0.self_attn.q_proj has 192; "
            "take '4bit' or 'int8_weight_only'",
        ),
        *(
            (
                f"experts_{word}",
                f"quantization={word!r} is made of linear layers, and the experts in model.layers.0.mlp.experts "
                "(Qwen3MoeExperts) are none: they would stay as they are; leave it out, or take files whose experts "
                "are quantised already",
            )
            for word in ("4bit", "8bit", "int8_weight_only")
        ),
    ],
)
def test_a_quantiser_or_size_that_is_not_here_is_one_line_before_a_model_is_made(quantised, name, words):
    assert quantised["refused"][name].startswith(f"pytorch: {words}")
    assert "\n" not in quantised["refused"][name]
