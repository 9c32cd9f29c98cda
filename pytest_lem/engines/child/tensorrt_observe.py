"""Read back from TensorRT-LLM's live objects what it really runs with."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import tensorrt_llm
import torch

from .libraries import versions
from .tensorrt_words import TABLE, Word, turned
from .vllm_values import like, plain

FOREIGN_SHARE = 0.01
_UNREAD = object()


def observe(llm: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The observed configuration: `llm.args`, the model where it lies in this process, the engine that was built."""
    runtime, model, built = runtime_of(llm), live_model(llm), built_config(llm)
    options = {name: _option(llm, built, name, asked, request) for name, asked in request["options"].items()}
    precision, read_from = _precision(llm, model, built)
    gpus = [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(torch.cuda.device_count())]
    return {
        "precision": precision,
        "precision_read_from": read_from,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "gpus": sorted(gpus),
        "options": {name: value for name, value in options.items() if value is not _UNREAD},
        "unread": sorted(name for name, value in options.items() if value is _UNREAD),
        "model_class": type(model).__name__ if model is not None else None,
        "weights_bytes": _held(model) if model is not None else None,
        "engine": _engine(llm, runtime),
        "build": build_of(llm),
        "vocab_size": _vocabulary(Path(str(request["location"])), request["source"], llm),
        "versions": versions(
            {"tensorrt_llm": tensorrt_llm.__version__, "torch": torch.__version__}, torch.version.cuda
        ),
        "executable": sys.executable,
        "imported": sorted(name for name in ("pytest_lem", "pydantic", "pytest") if name in sys.modules),
    }


def runtime_of(llm: Any) -> str:
    """Which of the two runtimes an `LLM` is, by the class of its arguments."""
    return "engine" if type(llm.args).__name__ == "TrtLlmArgs" else "pytorch"


def live_model(llm: Any) -> Any:
    """The PyTorch runtime's model, where it lies in this process; None elsewhere.

    TensorRT-LLM documents no way to it: a step that is not there means that it cannot be looked at.
    """
    found = llm
    for step in ("_executor", "engine", "model_engine", "model"):
        found = getattr(found, step, None)
    return found if hasattr(found, "parameters") else None


def in_this_process(llm: Any) -> bool:
    """Whether the engine runs in this process: an executor that has it here, not one that talks to workers."""
    return getattr(getattr(llm, "_executor", None), "engine", None) is not None


def limits(llm: Any) -> dict[str, int | None]:
    """`max_seq_len` and `max_num_tokens` that the engine was built with, or those of its live arguments."""
    built = built_config(llm).get("build_config", {})
    return {name: built.get(name) or _at(llm.args, name) for name in ("max_seq_len", "max_num_tokens")}


def built_config(llm: Any) -> dict[str, Any]:
    """The configuration that lies beside a built engine; empty where none was built."""
    folder = getattr(llm, "_engine_dir", None)
    path = Path(folder) / "config.json" if folder and runtime_of(llm) == "engine" else None
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path and path.is_file() else {}


def build_of(llm: Any) -> dict[str, Any] | None:
    """How long the engine took to build, by TensorRT-LLM's own clock; None where the runtime builds none.

    No steps mean that it was built before. `cache_hitted` alone does not: it is set too when a new one is cached.
    """
    stats = getattr(llm, "llm_build_stats", None)
    if stats is None or runtime_of(llm) != "engine":
        return None
    steps = {str(label): float(seconds) for label, seconds in stats.build_steps_info}
    seconds = sum(steps.values()) if steps else None
    return {"seconds": seconds, "steps": steps, "from_cache": not steps and bool(stats.cache_hitted)}


def _option(llm: Any, built: dict[str, Any], name: str, asked: Any, request: dict[str, Any]) -> Any:
    """The value that `name` really has, written as it was asked; `_UNREAD` where nothing keeps it."""
    runtime = runtime_of(llm)
    if name == "runtime":
        return runtime
    if name == "single_process":
        return in_this_process(llm)
    if name == "start_seconds":
        return _UNREAD  # what its parent waits
    if name == "max_output_len":
        whole = _at(llm.args, "max_seq_len")
        return whole - request["options"]["max_input_len"] if isinstance(whole, int) else whole
    if name not in TABLE:
        return like(asked, getattr(llm.args, name)) if hasattr(llm.args, name) else _UNREAD
    word = TABLE[name]
    found = [_written(word, asked, value, runtime) for value in _values(llm, built, word, runtime)]
    return next((value for value in found if value != asked), asked) if found else _UNREAD


def _values(llm: Any, built: dict[str, Any], word: Word, runtime: str) -> list[Any]:
    """Everything that the option became: in the arguments, and in the engine that was built of them."""
    found = [_at(llm.args, path) for path in word.paths(runtime)]
    beside = built.get("build_config", {})
    found += [beside[path.partition(".")[2]] for path in word.engine if path.partition(".")[2] in beside]
    return found


def _written(word: Word, asked: Any, found: Any, runtime: str) -> Any:
    """A value that was found, in the user's words: equal means the same."""
    if word.turn == "not":
        return not found
    if word.turn == "switch":
        return found is not None if runtime == "pytorch" else bool(found)
    if word.turn == "path":
        return asked if Path(str(found)) == Path(asked).expanduser().resolve() else str(found)
    meant = like(turned(word, asked, runtime), found)
    same = meant == turned(word, asked, runtime) or str(getattr(found, "name", found)).lower() == str(asked).lower()
    return asked if same else plain(found)


def _at(args: Any, path: str) -> Any:
    """The value at a path of the live arguments; None where its section is off."""
    for name in path.split("."):
        args = getattr(args, name, None)
    return args


def _precision(llm: Any, model: Any, built: dict[str, Any]) -> tuple[str, str]:
    """The number format that the weights are held in, and where that was read.

    The PyTorch runtime takes it from the model's files, whatever `dtype` says; where the model lies in another process,
    the configuration that it was made of tells.
    """
    if model is not None:
        held: Counter[str] = Counter()
        for parameter in model.parameters():
            held[plain(parameter.dtype)] += parameter.numel() * parameter.element_size()
        whole = sum(held.values())
        return "+".join(name for name, size in held.most_common() if size > FOREIGN_SHARE * whole), "model"
    if built:
        return str(built["pretrained_config"]["dtype"]), "engine"
    config = getattr(llm, "_hf_model_config", None)
    told = getattr(config, "torch_dtype", None) or getattr(config, "dtype", None)
    return (plain(told), "configuration") if told is not None else (plain(llm.args.dtype), "arguments")


def _held(model: Any) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _vocabulary(location: Path, source: str, llm: Any) -> int | None:
    """The size of the model's vocabulary, by the configuration that it was made of."""
    config = getattr(llm, "_hf_model_config", None)
    size = getattr(config, "vocab_size", None)
    if size is None and source != "hub":
        path = location / "config.json" if location.is_dir() else location
        shape = json.loads(path.read_text(encoding="utf-8"))
        size = {**shape, **(shape.get("text_config") or {})}.get("vocab_size")
    return size


def _engine(llm: Any, runtime: str) -> dict[str, Any]:
    """What decides how requests are batched and cached, asked for or not."""
    paths = {path for word in TABLE.values() for path in word.paths(runtime)}
    more = ("attn_backend", "sampler_type", "backend", "stream_interval")
    told = {path: _at(llm.args, path) for path in (*sorted(paths), *more)}
    return {path: plain(value) for path, value in told.items()}
