"""Run as a program, so that no test process imports torch: `python pytorch_lab.py GROUP FOLDER`.

Drives the PyTorch engine's adapter as its process does, `synthetic:tiny` on the CPU, and prints one JSON object: what
each case of the group observed and made, or the line with which it was refused.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest_lem.engines

ENGINES = Path(pytest_lem.engines.__file__).parent
runpy.run_path(str(ENGINES / "child" / "__main__.py"))["load_package"]()

import torch  # noqa: E402 - the child's package has to exist first
import transformers  # noqa: E402
from lem_child import (  # noqa: E402
    pytorch,
    pytorch_arithmetic,
    pytorch_assistance,
    pytorch_attention,
    pytorch_compile,
    pytorch_continuous,
    pytorch_group,
    pytorch_model,
    pytorch_parallel,
    pytorch_placement,
    pytorch_quantization,
    pytorch_ranks,
    pytorch_replicas,
    pytorch_weights,
)
from lem_child.faults import Refused  # noqa: E402
from transformers import (  # noqa: E402
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MixtralConfig,
)
from transformers.distributed.tensor_parallel import ColwiseParallel  # noqa: E402
from transformers.integrations.finegrained_fp8 import FP8Experts  # noqa: E402
from transformers.integrations.mxfp4 import Mxfp4GptOssExperts  # noqa: E402
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS  # noqa: E402
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # noqa: E402
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts  # noqa: E402
from transformers.models.llama.modeling_llama import LlamaModel, eager_attention_forward  # noqa: E402

SHORT, LONG = list(range(3, 8)), list(range(20, 41))
EAGER = {"torch_compile": True, "torch_compile_backend": "eager"}
MODULES = {"model.embed_tokens": "cpu", "model.layers": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}
MODULES["lm_head"] = "cpu"
OFFLOADED = {**MODULES, "model.layers.0": "cpu", "model.layers.1": "disk"}
del OFFLOADED["model.layers"]
OF_EXPERTS = ("4bit", "8bit", "int8_weight_only")
ASSISTED = {"assistant_model": "synthetic:tiny", "num_assistant_tokens": 4}


def request(folder=None, precision="float32", **options):
    source = ("folder", str(folder)) if folder else ("synthetic", str(ENGINES / "synthetic" / "tiny.json"))
    asked = {"use_cache": True, "num_threads": 1, **options}
    found = {"model": "synthetic:tiny", "source": source[0], "location": source[1], "options": asked}
    return {**found, "precision": precision, "device": "cpu", "gpus": (), "seed": 0}


def mixture(**options):
    """A request for the tiny mixture of experts."""
    named = {"model": "synthetic:tiny-moe", "location": str(ENGINES / "synthetic" / "tiny-moe.json")}
    return {**request(precision="bfloat16", **options), **named}


def work(*prompts, tokens=12, waves=None):
    requests = [{"prompt": prompt, "output_tokens": tokens} for prompt in prompts]
    together = [list(range(len(prompts)))] if waves is None else waves
    return {"requests": requests, "waves": together, "submission": "waves", "batch": len(prompts), "decoding": {}}


def loaded(asked):
    adapter = pytorch.Adapter()
    return adapter, adapter.load(asked, lambda text: None)


def answered(adapter, work, hooks=False):
    adapter.prepare(work)
    adapter.arm(2, hooks)
    adapter.run()
    return adapter.collect()


def case(asked, *works, hooks=False):
    """What was asked, observed and made of each work; the settings of torch itself are put back."""
    try:
        adapter, observed = loaded(asked)
        runs = [answered(adapter, each, hooks) for each in works]
        return {"request": asked, "observed": observed, "runs": runs, "options": observed["options"]}
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)


def refused(asked, *patches):
    """The line of a refusal, before any weight is made."""
    unmade = patch.object(pytorch_model, "load_model", side_effect=AssertionError("a model was made"))
    with ExitStack() as stack:
        for each in (unmade, *patches):
            stack.enter_context(each)
        try:
            loaded(asked)
        except Refused as fault:
            return str(fault)
    raise AssertionError("not refused")


def falsified(asked, *patches, change=lambda model: None, works=()):
    """What is observed of a model that was made otherwise, or changed behind its back."""
    load = pytorch_model.load_model

    def other(asked, device):
        model = load(asked, device)
        change(model)
        return model

    with ExitStack() as stack:
        for each in (patch.object(pytorch_model, "load_model", other), *patches):
            stack.enter_context(each)
        return case(asked, *works)


def without(**fields):
    """A model whose generate is handed other fields."""

    def change(model):
        generate = model.generate

        def other(**keywords):
            for name, value in fields.items():
                setattr(keywords["generation_config"], name, value)
            return generate(**keywords)

        model.generate = other

    return change


def another_assistant(model):
    """Whatever assistant it is handed, it drafts with itself."""
    make = model._get_candidate_generator
    model._get_candidate_generator = lambda *args, **keywords: make(*args, **{**keywords, "assistant_model": model})


def missing(*names):
    find = importlib.util.find_spec
    return patch.object(importlib.util, "find_spec", lambda name: None if name in names else find(name))


def found(*names):
    find = importlib.util.find_spec
    return patch.object(importlib.util, "find_spec", lambda name: object() if name in names else find(name))


def said(work):
    """The line with which it is refused, or None."""
    try:
        work()
    except Refused as fault:
        return str(fault)
    return None


def on_a_gpu():
    """What is said of a GPU of each compute capability, by the checks that are made before a model is."""
    gpu, bfloat16, float32 = torch.device("cuda", 0), {"precision": "bfloat16"}, {"precision": "float32"}
    packages = ("flash_attn", "flash_attn_interface")

    def attention(name, *patches, capability=(9, 0), precision="bfloat16"):
        check = pytorch_attention.check_attention
        return checked(lambda: check(name, gpu, precision), *patches, capability=capability)

    def int4(asked, **how):
        options = {"options": {"quantization": "int4_weight_only"}}
        return checked(lambda: pytorch_quantization.check_quantization({**options, **asked}, LlamaConfig(), gpu), **how)

    def checked(work, *patches, capability=(9, 0)):
        with ExitStack() as stack:
            for each in (patch.object(torch.cuda, "get_device_capability", lambda device: capability), *patches):
                stack.enter_context(each)
            return said(work)

    here, absent = found(*packages, "torchao"), missing(*packages, "triton")
    return {
        "flash2": attention("flash_attention_2", absent),
        "flash2_old": attention("flash_attention_2", here, capability=(7, 5)),
        "flash2_here": attention("flash_attention_2", here, capability=(8, 0)),
        "flash3": attention("flash_attention_3", absent),
        "flash3_old": attention("flash_attention_3", here, capability=(8, 9)),
        "flash3_new": attention("flash_attention_3", here, capability=(10, 0)),
        "flash3_here": attention("flash_attention_3", here),
        "flash2_float32": attention("flash_attention_2", here, precision="float32"),
        "flash3_float32": attention("flash_attention_3", here, precision="float32"),
        "flash2_float16": attention("flash_attention_2", here, precision="float16"),
        "flex_here": attention("flex_attention", absent),
        "triton": checked(lambda: pytorch_compile.check_compile({"torch_compile": True}, gpu), absent),
        "triton_here": checked(lambda: pytorch_compile.check_compile({"torch_compile": True}, gpu), found("triton")),
        "tf32": checked(lambda: pytorch_arithmetic.set_arithmetic({"tf32": True}, gpu), capability=(7, 5)),
        "int4_old": int4(bfloat16, capability=(7, 5)),
        "int4_precision": int4(float32),
        "int4_here": int4(bfloat16),
    }


def hub_kernel(runs):
    """A model whose attention is what a hub kernel would be registered as: a function under the repository's name."""
    name = "someone/kernel"

    def change(model):
        ALL_ATTENTION_FUNCTIONS.register(name, runs)
        ALL_MASK_ATTENTION_FUNCTIONS.register(name, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
        model.config._attn_implementation_internal = name

    made = pytorch_model.load_model

    def other(asked, device):
        options = {**asked["options"], "attention_implementation": "eager"}
        model = made({**asked, "options": options}, device)
        change(model)
        return model

    unchecked = patch.object(pytorch, "check_attention", lambda *_: None)
    with unchecked, patch.object(pytorch_model, "load_model", other):
        return case(request(attention_implementation=name))


def counted_on_a_gpu(name):
    """A model of an attention that needs a GPU, whose own kernel stands where transformers calls it."""
    place = pytorch_attention.CALLED[pytorch_attention.KERNELS[name]]

    def other(asked, device):
        model = made({**asked, "options": {**asked["options"], "attention_implementation": "eager"}}, device)
        model.config._attn_implementation_internal = name
        return model

    made = pytorch_model.load_model
    unchecked = patch.object(pytorch, "check_attention", lambda *_: None)
    with unchecked, patch.object(pytorch_model, "load_model", other), patch(place, lambda query, *_, **__: query):
        observed = loaded(request(attention_implementation=name))[1]
    return observed["options"]["attention_implementation"]


def often_wrong():
    """What is counted of drafts by a model of other weights, and how many passes the model itself made."""
    load = pytorch.load_assistant
    with patch.object(pytorch, "load_assistant", lambda asked, *more: load({**asked, "seed": 1}, *more)):
        adapter, _ = loaded(request(**ASSISTED))
    passes = []
    adapter.model.register_forward_hook(lambda *_: passes.append(None))
    told = answered(adapter, work(LONG))
    return {"passes": len(passes), "tokens": told["tokens"], "token_ids": told["token_ids"], **told["counters"]}


def kernels(_folder):
    both, one = work(SHORT, LONG), work(LONG)
    lengths, sevens = [work(LONG, tokens=tokens) for tokens in (1, 2, 3, 12)], work(LONG, tokens=14)
    unsure = {"assistant_confidence_threshold": 1.0}  # sure of no token, so that each draft ends with its first
    shy = patch.object(pytorch_assistance, "_drafting", lambda n: GenerationConfig(num_assistant_tokens=n, **unsure))
    high = {"matmul_precision": "high", "deterministic": True}
    cases = {
        "plain": case(request(), both, one, *lengths),
        "static": case(request(cache_implementation="static"), both),
        "lookup": case(request(prompt_lookup_num_tokens=3), *lengths),
        "lookup_hooked": case(request(prompt_lookup_num_tokens=3), one, hooks=True),
        "assisted": case(request(**ASSISTED), *lengths),
        "six": case(request(**{**ASSISTED, "num_assistant_tokens": 6}), sevens, sevens),
        "open": case(request(assistant_model="synthetic:tiny"), work(LONG, tokens=21)),
        "assisted_hooked": case(request(**ASSISTED), one, hooks=True),
        "arithmetic": case(request(**high), both),
    }
    lookup, static = request(prompt_lookup_num_tokens=3), request(cache_implementation="static")
    precise = request(matmul_precision="high")
    falsifications = {
        "other_cache": falsified(static, change=without(cache_implementation=None)),
        "nothing_looked_up": falsified(lookup, change=without(prompt_lookup_num_tokens=None)),
        "other_lookup": falsified(lookup, change=without(prompt_lookup_num_tokens=5)),
        "other_precision": falsified(precise, change=lambda model: torch.set_float32_matmul_precision("medium")),
        "not_deterministic": falsified(
            request(deterministic=True), change=lambda model: torch.use_deterministic_algorithms(False)
        ),
        "other_assistant": falsified(request(**ASSISTED), change=another_assistant),
        "short_drafts": falsified(request(**ASSISTED), shy),
        "hub_that_is_sdpa": hub_kernel(ALL_ATTENTION_FUNCTIONS["sdpa"]),
    }
    cases["hub"] = hub_kernel(eager_attention_forward)
    hub, loader = request(attention_implementation="nobody/nothing"), "transformers.integrations.hub_kernels"
    compatible = patch(f"{loader}.is_kernels_available", lambda: True)
    unreachable = patch(f"{loader}.get_kernel", side_effect=OSError("no such\nrepository"))
    refusals = {
        "flash": refused(request(attention_implementation="flash_attention_3")),
        "flex": refused(request(attention_implementation="flex_attention")),
        "compiler": refused(request(torch_compile=True), patch.object(shutil, "which", lambda name: None)),
        "hub": refused(request(attention_implementation="kernels-community/flash-attn2"), missing("kernels")),
        "hub_package": refused(hub, found("kernels")),
        "hub_repository": refused(hub, found("kernels"), compatible, unreachable),
        "hub_without": refused(hub, found("kernels"), compatible, patch(f"{loader}.get_kernel", lambda *_, **__: json)),
        "flash2": refused(request(attention_implementation="flash_attention_2")),
        "tf32": refused(request(tf32=True)),
        "backend": refused(request(torch_compile=True, torch_compile_backend="tvn")),
        "graphs": refused(request(torch_compile="reduce-overhead", cache_implementation="static")),
        "tuned_graphs": refused(request(torch_compile="max-autotune", cache_implementation="static")),
        "mode": refused(request(torch_compile="max-autotune-no-cudagraphs", torch_compile_backend="eager")),
        "vocabulary": refused(request(assistant_model="synthetic:qwen2.5-0.5b")),
        "batch": line(lambda: loaded(request(prompt_lookup_num_tokens=3))[0].prepare(both)),
        "endless": line(endless),
    }
    belied = {
        name: pytorch_attention.attention(name, {"sdpa": 2, "flex": 0, "flash": 0, "hub kernel": 0})
        for name in ("flex_attention", "flash_attention_2", "flash_attention_3", "eager", "sdpa", "someone/kernel")
    }
    beside = {"sdpa": 2, "flex": 0, "flash": 5, "hub kernel": 5}
    belied["both"] = [pytorch_attention.attention(name, beside) for name in ("flash_attention_2", "someone/kernel")]
    told = {"refused": refusals, "belied": belied, "modes": modes(), "gpu": on_a_gpu()}
    told |= {"counted": {name: counted_on_a_gpu(name) for name in pytorch_attention.KERNELS if name != "sdpa"}}
    told |= {"often_wrong": often_wrong()}
    told |= {"workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"), "tf32": tf32(), "passes": passes()}
    return {"cases": cases, "falsified": falsifications, **told}


def tf32():
    """What torch is set to for each answer, on a GPU that has it."""
    found = {}
    with (
        patch.object(torch.cuda, "get_device_capability", lambda device: (9, 0)),
        patch.object(torch.cuda, "is_available", lambda: True),
    ):
        for asked in (True, False):
            pytorch_arithmetic.set_arithmetic({"tf32": asked}, torch.device("cuda", 0))
            told = pytorch_arithmetic.arithmetic()
            found[str(asked)] = [told["matmul_precision"], told["tf32"]]
    return found


def passes():
    """How many passes warm up a work of which these compile something, and how many graphs that were."""

    def warmed(*compiling):
        ran, graphs = [], []

        def run_pass():
            ran.append(None)
            if len(ran) in compiling:
                graphs.append(None)

        with patch.object(pytorch_compile, "compiles", lambda: len(graphs)):
            return [pytorch_compile.warm_up(run_pass), len(ran)]

    return {"none": warmed(), "first": warmed(1), "to_the_fourth": warmed(1, 2, 3, 4)}


def modes():
    """What each mode is read back as, from the object that torch makes of it."""
    asked = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
    return {mode: pytorch_compile._mode(torch._TorchCompileInductorWrapper(mode, None, None)) for mode in asked}


def line(work):
    try:
        work()
    except (Refused, RuntimeError) as fault:
        return str(fault)
    raise AssertionError("not refused")


def endless():
    graphs = iter(range(100))
    with patch.object(pytorch_compile, "compiles", lambda: next(graphs)):
        pytorch_compile.warm_up(lambda: None)


def compiled_within_a_run():
    adapter, _ = loaded(request(cache_implementation="static", **EAGER))
    adapter.prepare(work(SHORT))
    pytorch_compile.forget_compiled(adapter.model)
    adapter.arm(1, hooks=False)
    adapter.run()
    adapter.collect()


def graphs(asked):
    """How many graphs each of several works compiles on one engine; the last is the first again."""
    adapter, _ = loaded(asked)
    found = []
    for each in (work(SHORT), work(LONG), work(LONG, SHORT), work(SHORT)):
        before = pytorch_compile.compiles()
        adapter.prepare(each)
        found.append(pytorch_compile.compiles() - before)
    pytorch_compile.forget_compiled(adapter.model)
    return found


def compiled(_folder):
    two, static = work(SHORT, LONG, waves=[[0], [1]]), request(cache_implementation="static", **EAGER)
    compile_ = torch.compile
    not_compiled = patch.object(torch, "compile", lambda forward, **keywords: forward)
    otherwise = patch.object(torch, "compile", lambda forward, mode, **_: compile_(forward, backend="aot_eager"))
    cases = {
        "plain": case(request(), two),
        "compiled": case(request(**EAGER), two),
        "static_compiled": case(static, two, hooks=True),
    }
    falsifications = {
        "not_compiled": falsified(request(**EAGER), not_compiled),
        "compiled_by_another": falsified(request(**EAGER), otherwise),
        "not_compiled_by_generate": falsified(static, change=without(compile_config=None, disable_compile=True)),
    }
    told = {"refused": {"within": line(compiled_within_a_run)}}
    told["graphs"] = {"growing": graphs(request(**EAGER)), "static": graphs(static)}
    return {"cases": cases, "falsified": falsifications, **told}


def inductor(_folder):
    both, full = work(SHORT, LONG), {"torch_compile": "default"}
    cases = {
        "plain": case(request(), both),
        "compiled": case(request(**full), both),
        "static_compiled": case(request(cache_implementation="static", **full), both),
    }
    recording = request(cache_implementation="static", torch_compile="reduce-overhead")
    with patch.object(pytorch, "check_compile", lambda *_: None):
        cases["recording"] = case(recording, both)
    return {"cases": cases}


def one_layer_left(model):
    kept = model.model.layers[0].self_attn.q_proj
    model.model.layers[0].self_attn.q_proj = torch.nn.Linear(
        kept.in_features, kept.out_features, bias=False, dtype=torch.bfloat16
    )


def other_compute(model):
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.float32


def quantised(folder):
    both = work(SHORT, LONG)
    words = ("4bit", "8bit", "int8_weight_only", "int8_dynamic_activation_int8_weight", "float8_weight_only")
    asked = {word: request(precision="bfloat16", quantization=word) for word in words}
    cases = {word: case(each, both) for word, each in asked.items()}
    cases["plain"] = case(request(precision="bfloat16"), both)
    pytorch_model.load_model(asked["4bit"], torch.device("cpu")).save_pretrained(folder / "stored")
    cases["stored"] = case(request(folder / "stored", "bfloat16"), both)
    make = pytorch_quantization.quantization_config

    def other_kind(word, precision):
        made = make(word, precision)
        made.bnb_4bit_quant_type = "fp4"
        return made

    falsifications = {
        "one_layer_left": falsified(asked["4bit"], change=one_layer_left),
        "other_kind": falsified(asked["4bit"], patch.object(pytorch_model, "quantization_config", other_kind)),
        "other_compute": falsified(asked["4bit"], change=other_compute),
        "other_quantiser": falsified(
            asked["8bit"], patch.object(pytorch_model, "quantization_config", lambda _, p: make("int8_weight_only", p))
        ),
        "not_quantised": falsified(
            asked["8bit"], patch.object(pytorch_model, "quantization_config", lambda word, precision: None)
        ),
    }
    unchecked = patch.object(pytorch_quantization, "check_experts", lambda *_: None)
    falsifications |= {f"experts_{word}": falsified(mixture(quantization=word), unchecked) for word in OF_EXPERTS}
    (folder / "gptq").mkdir()
    told = {**json.loads((folder / "stored" / "config.json").read_text())}
    told["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (folder / "gptq" / "config.json").write_text(json.dumps(told))
    refusals = {
        "no_bitsandbytes": refused(asked["4bit"], missing("bitsandbytes", "torchao")),
        "no_torchao": refused(asked["int8_weight_only"], missing("torchao")),
        "int4": refused(request(precision="bfloat16", quantization="int4_weight_only")),
        "twice": refused(request(folder / "stored", "bfloat16", quantization="8bit")),
        "gptq": refused(request(folder / "gptq", "bfloat16")),
        **{f"experts_{word}": refused(mixture(quantization=word)) for word in OF_EXPERTS},
        "groups": line(
            lambda: pytorch_quantization.check_groups(
                LlamaConfig(
                    hidden_size=192,
                    intermediate_size=256,
                    num_hidden_layers=1,
                    num_attention_heads=4,
                    num_key_value_heads=4,
                    vocab_size=64,
                )
            )
        ),
    }
    return {"cases": cases, "falsified": falsifications, "refused": refusals}


def files(folder, name, **told):
    """A folder as `save_pretrained` writes it, whose configuration tells how its weights are quantised."""
    model = pytorch_model.load_model(request(precision="bfloat16"), torch.device("cpu"))
    model.save_pretrained(folder / name)
    config = folder / name / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": told}))
    return folder / name


def compressed(folder):
    """A folder of 4-bit weights in groups of 32, packed by the package compressed-tensors itself."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        QuantizationStatus,
        apply_quantization_config,
    )

    model = pytorch_model.load_model(request(precision="bfloat16"), torch.device("cpu"))
    weights = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=32)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    config = QuantizationConfig(
        config_groups={"all": scheme}, ignore=["lm_head"], format="pack-quantized", quantization_status="initialized"
    )
    apply_quantization_config(model, config)
    for module in model.modules():
        if getattr(module, "quantization_scheme", None):
            largest = module.weight.reshape(module.weight.shape[0], -1, 32).abs().amax(-1)
            module.weight_scale.data.copy_(largest / 7)
            module.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(folder / "compressed")
    compressor.update_config(folder / "compressed")
    return folder / "compressed"


def stored(folder):
    """Models whose files are quantised, and what cannot load them."""
    both = work(SHORT, LONG)
    mxfp4 = files(folder, "mxfp4", quant_method="mxfp4")
    cases = {"plain": case(request(precision="bfloat16"), both), "mxfp4": case(request(mxfp4, "bfloat16"), both)}
    there = importlib.util.find_spec("compressed_tensors") is not None
    if there:
        cases["compressed"] = case(request(compressed(folder), "bfloat16"), both)
    absent = patch("transformers.utils.quantization_config.is_compressed_tensors_available", lambda *_, **__: False)
    awq = files(folder, "awq", quant_method="awq", bits=4, group_size=32, zero_point=True, version="gemm")
    tensors = files(folder, "tensors", quant_method="compressed-tensors", format="pack-quantized")
    refusals = {
        "awq": refused(request(awq, "bfloat16")),
        "assistant": refused(request(precision="bfloat16", assistant_model=str(awq))),
        "broken": refused(
            request(awq, "bfloat16"),
            patch("transformers.quantizers.quantizer_awq.is_gptqmodel_available", lambda: True),
            patch.dict(sys.modules, {"gptqmodel": None}),  # it is there, and cannot be imported
        ),
        "compressed": refused(request(tensors, "bfloat16"), *([absent] if there else [])),
    }
    return {"cases": cases, "refused": refusals, "ways": ways_of_gptqmodel(), "experts": experts()}


def experts():
    """How the experts of each class are quantised: plain ones, packed ones, and ones that a kernel has taken over."""
    config = GptOssConfig(hidden_size=64, intermediate_size=64, num_local_experts=2)
    with torch.device("meta"):
        plain, packed, taken = GptOssExperts(config), Mxfp4GptOssExperts(config), Mxfp4GptOssExperts(config)
        narrow = FP8Experts(MixtralConfig(hidden_size=128, intermediate_size=128, num_local_experts=2))
    del taken.gate_up_proj, taken.down_proj
    kinds = {"plain": plain, "packed": packed, "taken": taken, "narrow": narrow}
    return {name: pytorch_weights.quantization(each) for name, each in kinds.items()}


def ways_of_gptqmodel():
    """What layers of gptqmodel's classes are called, by what they derive from."""
    base = {name: type(name, (), {}) for name in ("GPTQQuantLinear", "AWQuantLinear")}
    kernels = [("MarlinLinear", "GPTQQuantLinear"), ("AwqMarlinLinear", "AWQuantLinear")]
    kernels += [("W4AFP8Linear", "GPTQQuantLinear")]
    return {name: pytorch_weights._way(type(name, (base[derived],), {})()) for name, derived in kernels}


def offloaded(folder):
    """A change that has accelerate keep the second layer on the disk, and bring it for each token."""
    from accelerate import dispatch_model

    return lambda model: dispatch_model(model, OFFLOADED, offload_dir=str(folder))


def device_of(gpus, visible, rank=0, **options):
    """The device that a rank takes where torch sees so many."""
    ranks = options.get("data_parallel_size") or options.get("tensor_parallel_size") or 1
    asked = {**request(**options), "device": "cuda", "gpus": gpus, "rank": rank, "ranks": ranks}
    asked["own_gpu"] = "data_parallel_size" in options
    seen = (
        patch.object(torch.version, "cuda", "13.0"),
        patch.object(torch.cuda, "is_available", lambda: True),
        patch.object(torch.cuda, "device_count", lambda: visible),
    )
    with ExitStack() as stack:
        for each in seen:
            stack.enter_context(each)
        return str(pytorch_model.find_device(asked))


def other_weights(model, observed):
    """What rank 0 says where rank 1 tells of other weights than it has itself."""
    replicas = object.__new__(pytorch_replicas.Replicas)
    replicas.rank, replicas.place = 0, lambda observed: {"rank": 0}
    replicas.gather = lambda own: [own, ({**own[0], "rank": 1, "weights": "others"}, *own[1:])]
    return line(lambda: replicas.observed(model, observed))


def on_gpus():
    """By what the ranks of a split model meet, compute and tell where they have GPUs, and what one tells of its own."""
    said = []

    def noted(name, answer=None):
        def note(*args, **keywords):
            told = [keywords[key] for key in ("backend", "device_id", "group") if key in keywords]
            said.append([name, *map(str, [*args, *told])])
            return answer

        return note

    calls = {"init_process_group": None, "new_group": "the host's", "barrier": None, "all_gather_object": None}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    with ExitStack() as stack:
        for each in (
            patch.dict(os.environ, place),
            patch.object(torch.distributed, "TCPStore", lambda *_, **__: None),
            patch.object(torch.cuda, "set_device", noted("set_device")),
            patch.object(pytorch_group.resident, "forget_peak", noted("forget_peak", answer=False)),
            *(patch.object(torch.distributed, name, noted(name, answer)) for name, answer in calls.items()),
        ):
            stack.enter_context(each)
        ranks = pytorch_parallel.Shared({"rank": 1, "ranks": 2}, torch.device("cuda", 1))
        ranks.arm(1)
        with ranks.window():
            said.append(["work"])
        ranks.gather("own")
    peaks = [{"device": "GPU-b", "allocated_bytes": 30, "reserved_bytes": 40}]
    own = ranks.own_run({"memory": peaks, "tokens": 24}, 20)
    told = ("rank", "device", "tokens", "weights_bytes", "allocated_bytes", "reserved_bytes", "resident_bytes")
    return {"said": said, "own": {name: own[name] for name in told}, "other_tokens": other_tokens(ranks)}


def other_tokens(ranks):
    """What is said where a rank that shares a model tells of other tokens than the first."""
    ranks.weights_bytes = 20
    ranks.gather = lambda own: [own, (own[0], "others", own[2])]
    return line(lambda: ranks.collected({"memory": [], "tokens": 24, "token_ids": [[1]]}))


def apart(observed):
    """What comes of two ranks that differ in how they run, and of two that do not hold all of the model."""

    def own(rows):
        parts = {"model.layers.0.mlp.up_proj.weight": ((rows, 4), (4, 4))}
        return {"layers": [0], "weights_bytes": 4 * rows, "parts": parts}

    options = {**observed["options"], "tensor_parallel_size": 2}
    asked = {**observed, "options": options}
    eager = {**asked, "options": {**options, "attention_implementation": "eager"}}

    def told(other, rows=2):
        return pytorch_ranks.merged([(own(2), asked), (own(rows), other)])

    return {
        "alike": told(asked),
        "precision": told({**asked, "precision": "bfloat16"}),
        "attention": told(eager),
        "size": told({**asked, "options": {**options, "tensor_parallel_size": 1}}),
        "missing": line(lambda: told(asked, rows=1)),
    }


def unshared():
    """Splits that the installed transformers does not have, or not of every vocabulary."""

    @dataclass
    class WithoutStages:
        tp_size: int = 1

    def join(vocabulary=1024, config=None, **options):
        config = config or LlamaConfig(**four, num_key_value_heads=2, num_hidden_layers=2, vocab_size=vocabulary)
        return pytorch_parallel.join({**request(**options), "ranks": 2}, torch.device("cpu"), config)

    four, gpt2 = {"num_attention_heads": 4}, GPT2Config(n_head=4, n_layer=2)
    neox = GPTNeoXConfig(**four, hidden_size=64, num_hidden_layers=2)
    unknown = patch.object(transformers, "DistributedConfig", None)
    known = patch.object(transformers, "DistributedConfig", WithoutStages)
    even = patch.object(ColwiseParallel, "validate_param", lambda *_: None)
    uneven = patch.object(pytorch_parallel, "Shared", lambda *_: "joined")
    found = {}
    with unknown:
        found["no_tensor"] = line(lambda: join(tensor_parallel_size=2))
    with known:
        found["no_stages"] = line(lambda: join(pipeline_parallel_size=2))
    with even:
        found["vocabulary"] = line(lambda: join(1023, tensor_parallel_size=2))
    with uneven:
        found["uneven"] = join(1023, tensor_parallel_size=2)
        found["stages"] = join(pipeline_parallel_size=2)
        found["shared_neox"] = join(config=neox, tensor_parallel_size=2)
    found["no_plan"] = line(lambda: join(config=gpt2, tensor_parallel_size=2))
    found["no_parts"] = line(lambda: join(config=gpt2, pipeline_parallel_size=2))
    found["other_parts"] = line(lambda: join(config=neox, pipeline_parallel_size=2))
    granite = GraniteConfig(**four, hidden_size=64, num_hidden_layers=2, embedding_multiplier=12.0)
    found["scaled"] = line(lambda: join(config=granite, pipeline_parallel_size=2))
    with patch.object(LlamaModel, "forward", side_effect=TypeError("no embeddings here")):
        found["unseen"] = line(lambda: join(pipeline_parallel_size=2))
    packed = LlamaConfig(**four, num_hidden_layers=2, quantization_config={"quant_method": "fp8"})
    found["packed"] = line(lambda: join(config=packed, tensor_parallel_size=2))
    return found


def placed(folder):
    both, model = work(SHORT, LONG), pytorch_model.load_model(request(), torch.device("cpu"))
    offloaded(folder)(model)
    gpu, one_gpu = torch.device("cuda", 0), patch.object(torch.cuda, "device_count", lambda: 1)
    on_two = patch.object(torch.cuda, "device_count", lambda: 2)
    on_first = patch.object(pytorch_placement, "gpus_of", lambda model: [gpu])
    cases = {
        "plain": case(request(), both),
        "auto": case(request(device_map="auto"), both),
        "modules": case(request(device_map=MODULES), both),
    }
    unchecked = patch.object(pytorch, "check_placed", lambda *_: None)
    over_two = falsified(request(device_map="auto"), unchecked, change=offloaded(folder), works=[both])
    refusals = {
        "offloaded": line(lambda: falsified(request(device_map="auto"), change=offloaded(folder))),
        "no_gpu": refused(request(device_map={"model": 0, "lm_head": 1})),
        "no_accelerate": refused(request(device_map="auto"), missing("accelerate")),
    }
    with one_gpu:
        refusals["one_gpu"] = line(lambda: pytorch_placement.check_placement({"device_map": "auto"}, gpu))
    with on_two, on_first:
        refusals["idle"] = line(lambda: pytorch_placement.check_placed(model, {"device_map": "sequential"}, gpu))
    refusals["cpu"] = line(lambda: pytorch_placement.check_placement({"device_map": {"": "cpu"}}, gpu))
    read = {
        "asked": pytorch_placement.read_device_map(model, {"": "cpu"}),
        "auto": pytorch_placement.read_device_map(model, "auto"),
        "modules": pytorch_placement.read_device_map(model, {"model": "cpu"}),
        "placement": pytorch_placement.placement(model),
        "against": pytorch_continuous.reason_against(model, use_cache=True),
    }
    fresh = pytorch_model.load_model(request(), torch.device("cpu"))
    fingerprints = [
        pytorch_weights.fingerprint(fresh),
        pytorch_weights.fingerprint(pytorch_model.load_model(request(), torch.device("cpu"))),
    ]
    with torch.no_grad():
        fresh.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-6
        fingerprints.append(pytorch_weights.fingerprint(fresh))
        rows = fresh.model.layers[0].mlp.up_proj.weight
        rows[[3, 5]] = rows[[5, 3]]
        fingerprints.append(pytorch_weights.fingerprint(fresh))
    refusals["strange"] = line(
        lambda: pytorch_placement.check_placed(fresh, {"device_map": {"model.layerz": "cpu"}}, torch.device("cpu"))
    )
    refusals["left"] = line(
        lambda: pytorch_placement.check_placed(fresh, {"device_map": {"model.layers": "cpu"}}, torch.device("cpu"))
    )
    refusals["replica"] = other_weights(fresh, cases["plain"]["observed"])
    refusals |= unshared()
    two = ["GPU-a", "GPU-b"]
    devices = {
        "replica": device_of(two, 1, 1, data_parallel_size=2),
        "rank": device_of(two, 2, 1, tensor_parallel_size=2),
        "placed": device_of(two, 2, device_map="auto"),
        "one": device_of(["GPU-a"], 1),
        "too_many": line(lambda: device_of(two, 2)),
        "too_late": line(lambda: device_of(two, 2, 1, data_parallel_size=2)),
    }
    return {
        "fingerprints": fingerprints,
        "devices": devices,
        "cases": cases,
        "falsified": {"over_two": over_two},
        "refused": refusals,
        "read": read,
        "on_gpus": on_gpus(),
        "apart": apart(cases["plain"]["observed"]),
    }


GROUPS = {
    "placed": placed,
    "kernels": kernels,
    "compiled": compiled,
    "inductor": inductor,
    "quantised": quantised,
    "stored": stored,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(GROUPS[sys.argv[1]](Path(sys.argv[2]))))
