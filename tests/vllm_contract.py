"""What the vLLM adapter leans on, read out of vLLM's source by `ast`, and kept as one small JSON file a version.

`python tests/vllm_contract.py FOLDER …` writes `vllm_contracts/<version>.json` for each folder that holds an unpacked
`vllm` package and is named by its version (`0.32`).
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_name("vllm_contracts")
# Where a class may lie: the first file that has it counts.
METHODS = {
    "LLM.generate": ("entrypoints/llm.py",),
    "LLM.collective_rpc": ("entrypoints/llm.py",),
    "AsyncLLM.from_engine_args": ("v1/engine/async_llm.py",),
    "AsyncLLM.generate": ("v1/engine/async_llm.py",),
    "AsyncLLM.collective_rpc": ("v1/engine/async_llm.py",),
    "AsyncLLM.shutdown": ("v1/engine/async_llm.py",),
    "OutputProcessor.process_outputs": ("v1/engine/output_processor.py",),
    "MPClient.shutdown": ("v1/engine/core_client.py",),
    "StatLoggerBase.record": ("v1/metrics/loggers.py",),
}
FIELDS = {
    "RequestStateStats": "v1/metrics/stats.py",
    "SchedulerStats": "v1/metrics/stats.py",
    "IterationStats": "v1/metrics/stats.py",
    "PerfStats": "v1/metrics/perf.py",
    "EngineCoreOutput": "v1/engine/__init__.py",
    "RequestOutput": "outputs.py",
    "CompletionOutput": "outputs.py",
    "SamplingParams": "sampling_params.py",
    "RequestOutputKind": "sampling_params.py",
}
# Only the names that the adapter reads: these classes are large.
READ = {
    "LLM": ("entrypoints/llm.py", {"llm_engine"}),
    "LLMEngine": ("v1/engine/llm_engine.py", {"engine_core", "logger_manager", "output_processor", "vllm_config"}),
    "AsyncLLM": ("v1/engine/async_llm.py", {"logger_manager", "output_processor", "vllm_config"}),
    "StatLoggerManager": ("v1/metrics/loggers.py", {"stat_loggers"}),
    "VllmConfig": (
        "config/vllm.py",
        {
            "cache_config",
            "compilation_config",
            "model_config",
            "optimization_level",
            "parallel_config",
            "scheduler_config",
            "speculative_config",
        },
    ),
    "ModelConfig": (
        "config/model.py",
        {"enforce_eager", "hf_text_config", "max_model_len", "quantization", "seed"},
    ),
    "CacheConfig": (
        "config/cache.py",
        {"block_size", "cache_dtype", "enable_prefix_caching", "gpu_memory_utilization", "num_gpu_blocks"},
    ),
    "SchedulerConfig": (
        "config/scheduler.py",
        {"async_scheduling", "enable_chunked_prefill", "max_num_batched_tokens", "max_num_seqs"},
    ),
    "ParallelConfig": (
        "config/parallel.py",
        {"distributed_executor_backend", "pipeline_parallel_size", "tensor_parallel_size"},
    ),
    "CompilationConfig": ("config/compilation.py", {"cudagraph_mode", "mode", "static_forward_context"}),
}
VARIABLES = {
    "VLLM_CACHE_ROOT",
    "VLLM_DISABLE_COMPILE_CACHE",
    "VLLM_NO_USAGE_STATS",
    "VLLM_WORKER_MULTIPROC_METHOD",
}


def extract(folder: Path) -> dict[str, Any]:
    """The contract of the vLLM whose package lies at `folder`."""
    return {
        "engine_arguments": sorted(_members(folder / "engine/arg_utils.py", "EngineArgs")),
        "quantization_methods": sorted(_literal(folder / "model_executor/layers/quantization/__init__.py")),
        "signatures": {name: _signature(folder, name, paths) for name, paths in METHODS.items()},
        "fields": {name: sorted(_members(folder / path, name)) for name, path in FIELDS.items()},
        "read": {name: sorted(_members(folder / path, name) & used) for name, (path, used) in READ.items()},
        "variables": sorted(VARIABLES & _texts(folder / "envs.py")),
        "request_id": _request_id(folder / "v1/engine/input_processor.py"),
    }


def read(version: str) -> dict[str, Any]:
    """The contract that is kept for `version`."""
    contract: dict[str, Any] = json.loads((KEPT / f"{version}.json").read_text(encoding="utf-8"))
    return contract


def versions() -> list[str]:
    """The versions whose contract is kept, oldest first."""
    return sorted((path.stem for path in KEPT.glob("*.json")), key=lambda name: [int(part) for part in name.split(".")])


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _class(path: Path, name: str) -> ast.ClassDef | None:
    found = (node for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef) and node.name == name)
    return next(found, None)


def _members(path: Path, name: str) -> set[str]:
    """The attributes of a class: fields, properties, and what its methods set on `self`."""
    owner = _class(path, name)
    if owner is None:
        return set()
    return {member for node in ast.walk(owner) for member in _set_by(node, owner)}


def _set_by(node: ast.AST, owner: ast.ClassDef) -> Iterator[str]:
    """The attributes that one piece of a class's source defines."""
    if isinstance(node, ast.FunctionDef):
        if node in owner.body and any(getattr(mark, "id", "") == "property" for mark in node.decorator_list):
            yield node.name
        return
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        if isinstance(target, ast.Name) and node in owner.body:
            yield target.id
        elif isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
            yield target.attr


def _signature(folder: Path, name: str, paths: tuple[str, ...]) -> str | None:
    """Parameters without types, `=` after an optional one: `self, prompts, sampling_params=, *, use_tqdm=`."""
    owner, method = name.split(".")
    for path in paths:
        for node in getattr(_class(folder / path, owner), "body", ()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == method:
                return ", ".join(_parameters(node.args))
    return None


def _parameters(asked: ast.arguments) -> Iterator[str]:
    positional = [*asked.posonlyargs, *asked.args]
    required = len(positional) - len(asked.defaults)
    for index, parameter in enumerate(positional):
        yield parameter.arg + ("" if index < required else "=")
    if asked.vararg:
        yield f"*{asked.vararg.arg}"
    elif asked.kwonlyargs:
        yield "*"
    for parameter, default in zip(asked.kwonlyargs, asked.kw_defaults, strict=True):
        yield parameter.arg + ("" if default is None else "=")
    if asked.kwarg:
        yield f"**{asked.kwarg.arg}"


def _literal(path: Path) -> set[str]:
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == ["QuantizationMethods"]:
            return {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
    return set()


def _texts(path: Path) -> set[str]:
    return {node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant) and type(node.value) is str}


def _request_id(path: Path) -> str | None:
    """How the name that a request was given becomes the engine core's."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.JoinedStr):
            target = node.targets[0]
            if isinstance(target, ast.Attribute) and target.attr == "request_id":
                return ast.unparse(node.value)
    return None


def main(folders: list[str]) -> None:
    KEPT.mkdir(exist_ok=True)
    for folder in map(Path, folders):
        text = json.dumps(extract(folder / "vllm"), indent=1, sort_keys=True)
        (KEPT / f"{folder.name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
