"""What TensorRT-LLM is started with: every option checked against the installed version's own names before it starts.

TensorRT-LLM takes half a minute to import and claims a GPU, so names are read from its source.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

from . import tensorrt_source as source
from .faults import Refused
from .tensorrt_words import TABLE, turned, with_lengths

OLDEST = (1, 0)
# The engine runtime is `tensorrt_llm._tensorrt_engine`. Candidates of 1.3 have it up to rc20, and were not read for it.
LAST_WITH_ENGINES = (1, 2)
OURS = ("runtime", "single_process", "start_seconds")
ARGUMENTS = {"pytorch": "TorchLlmArgs", "engine": "TrtLlmArgs"}
OWNED = {
    "model": "--lem-model says it",
    "dtype": "--lem-precision says it",
    "tokenizer": "the model's own is taken",
    "skip_tokenizer_init": "prompts are token ids by the time TensorRT-LLM sees them",
    "return_perf_metrics": "what is measured rests on them",
    "backend": "option runtime says it",
}


def source_folder() -> Path:
    """Where TensorRT-LLM's source lies. Raises ModuleNotFoundError where there is none."""
    spec = importlib.util.find_spec("tensorrt_llm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'tensorrt_llm'", name="tensorrt_llm")
    return Path(spec.origin).parent


def version() -> tuple[int, int]:
    """Major and minor of the installed TensorRT-LLM."""
    try:
        found = re.match(r"(\d+)\.(\d+)", importlib.metadata.version("tensorrt_llm"))
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found:
        return int(found[1]), int(found[2])
    raise Refused(
        f"the tensorrt_llm of {sys.executable} is no installed distribution, so its version is unknown; reinstall it"
    )


def told() -> str:
    """`1.2`, the installed version as messages write it."""
    return ".".join(map(str, version()))


def known_arguments(folder: Path, runtime: str) -> dict[str, source.Found]:
    """The arguments of the installed `LLM` of this runtime. Raises Refused where its source is not as expected."""
    name = ARGUMENTS[runtime]
    found = source.find(folder / "llmapi" / "llm_args.py", name)
    if found is None:
        raise Refused(
            f"tensorrt: tensorrt_llm {told()} has no {name} in llmapi/llm_args.py; this adapter drives 1.0 to 1.4"
        )
    return source.fields(found)


def engine_arguments(request: dict[str, Any], model: str) -> dict[str, Any]:
    """Keywords for `LLM`, made of a load request, sections as dictionaries. Raises Refused for what cannot be.

    What would bias energy or hide what happens is set, and may be set otherwise: no reuse of blocks between repeats of
    the same prompts, metrics a request where the version gives them.
    """
    runtime = request["options"]["runtime"]
    folder = source_folder()
    check_version(version(), runtime)
    known = known_arguments(folder, runtime)
    options = {name: value for name, value in request["options"].items() if name not in OURS}
    check_owned(options)
    check_one_host(options.get("gpus_per_node"), len(request["gpus"]))
    arguments: dict[str, Any] = {"model": model, "dtype": request["precision"], "skip_tokenizer_init": True}
    if "return_perf_metrics" in known:
        arguments["return_perf_metrics"] = True
    if request["source"] == "synthetic":
        arguments["load_format"] = "dummy"
    passed = {name: value for name, value in options.items() if name not in TABLE and name != "max_output_len"}
    check_names(passed, known)
    arguments |= passed
    for name, value in with_lengths({name: value for name, value in options.items() if name not in passed}).items():
        word = TABLE[name]
        for path in word.paths(runtime):
            place(arguments, path, turned(word, value, runtime))
    check_names(arguments, known)
    for name, value in arguments.items():
        check_section(name, value, known[name])
    return arguments


def place(arguments: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a path. Raises Refused where another option has turned the section off."""
    name, _, field = path.partition(".")
    if not field:
        given = arguments.get(name)
        if isinstance(given, dict) and value is None:
            raise Refused(f"tensorrt: {name} is turned off by one option and given by another; leave one of them out")
        if not (value == {} and isinstance(given, dict)):
            arguments[name] = value
        return
    section = arguments.setdefault(name, {})
    if not isinstance(section, dict):
        raise Refused(f"tensorrt: {path} is asked for, but {name} is {section!r}; leave one of them out")
    if section.setdefault(field, value) != value:
        raise Refused(
            f"tensorrt: {path} is {section[field]!r} in {name}, and another option makes it {value!r}; keep one"
        )


def check_version(installed: tuple[int, int], runtime: str) -> None:
    """Raise Refused for a version that this adapter was not written for, or that lacks the runtime."""
    words = ".".join(map(str, installed))
    if installed < OLDEST:
        raise Refused(f"tensorrt_llm {words} is too old: this adapter drives 1.0 and newer")
    if runtime == "engine" and installed > LAST_WITH_ENGINES:
        raise Refused(
            f"tensorrt: runtime='engine' needs tensorrt_llm 1.0 to 1.2, this is {words}; leave it out for PyTorch's"
        )


def check_one_host(gpus_per_node: int | None, gpus: int) -> None:
    """Raise Refused for an engine that would be spread over several hosts: only this one's joules are read."""
    if os.environ.get("TLLM_SPAWN_PROXY_PROCESS") == "1":
        raise Refused(
            "tensorrt: trtllm-llmapi-launch runs an engine on several hosts, and only this one's joules are read; "
            "start pytest without it: LLM starts its workers on this host by itself"
        )
    if gpus_per_node is not None and gpus_per_node < gpus:
        raise Refused(
            f"tensorrt: gpus_per_node={gpus_per_node} lays {gpus} GPUs on several hosts, and only this one's joules "
            "are read; leave it out"
        )


def check_names(options: dict[str, Any], known: dict[str, source.Found]) -> None:
    """Raise Refused for an option that the installed version does not have, with the nearest one that it has."""
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name, (*known, *TABLE, *OURS), 1, 0.0)[0]
            raise Refused(
                f"tensorrt: unknown option {name!r}; did you mean {nearest!r}? "
                f"(tensorrt_llm {told()} takes {len(known)} arguments)"
            )


def check_section(name: str, given: Any, declared: source.Found) -> None:
    """Raise Refused for a field that a section does not have, or one within it: some of them drop it in silence.

    Where a section may be one of several classes, a field of any of them passes.
    """
    known = source.section(declared) if isinstance(given, dict) and given else {}
    for field in known and given:
        if field not in known:
            nearest = difflib.get_close_matches(field, known, 1, 0.0)[0]
            raise Refused(f"tensorrt: {name}: unknown field {field!r}; did you mean {nearest!r}?")
        check_section(f"{name}.{field}", given[field], known[field])


def check_owned(options: dict[str, Any]) -> None:
    """Raise Refused for an option that is decided here, with the reason or the place where it is said."""
    for name in options:
        if name in OWNED:
            raise Refused(f"tensorrt: option {name!r} cannot be given: {OWNED[name]}")


def single_process(request: dict[str, Any]) -> bool:
    """Whether the engine runs in this process: with one GPU, unless it is asked not to."""
    return len(request["gpus"]) <= 1 and request["options"].get("single_process") is not False


def set_environment(request: dict[str, Any]) -> None:
    """What TensorRT-LLM reads from its environment: before it is imported, and for the processes that it starts."""
    os.environ.setdefault("TRTLLM_NO_USAGE_STATS", "1")  # newer ones report what runs, unless told not to
    os.environ["TLLM_WORKER_USE_SINGLE_PROCESS"] = "1" if single_process(request) else "0"
    if request["source"] != "hub":
        os.environ["HF_HUB_OFFLINE"] = "1"
