"""torch.compile: what is asked for, what was really compiled, and that none of it falls into a measured run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import torch
from transformers import CompileConfig

from .faults import Refused

# CUDA graphs are recorded in the second call of a shape, and only the third replays them.
LEAST_PASSES = 3
MOST_PASSES = 8
# The modes that record CUDA graphs, and what runs by the same settings without any.
GRAPHS = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}


def compile_fields(options: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The fields of GenerationConfig by which transformers compiles the steps of a static cache, or does not."""
    asked = options.get("torch_compile")
    if options.get("cache_implementation") != "static" or asked is None:
        return {}
    if asked is False:
        return {"disable_compile": True}
    config = CompileConfig(mode=mode_of(asked), backend=options.get("torch_compile_backend") or "inductor")
    # On a CPU transformers compiles only where this, which it has for its own tests, is set.
    config._compile_all_devices = device.type == "cpu"
    return {"compile_config": config}


def mode_of(asked: bool | str) -> str | None:
    """The mode that torch is told; its default has no name there."""
    return None if asked in (True, "default") else str(asked)


def check_compile(options: dict[str, Any], device: torch.device) -> None:
    """Raise Refused, before the model is made, for a backend that is not here, or whose own compiler is not.

    So are CUDA graphs on a CPU: inductor would leave them out in silence.
    """
    backend, asked = options.get("torch_compile_backend"), options.get("torch_compile")
    if backend in (None, "inductor"):
        if asked in GRAPHS and device.type != "cuda":
            told = f"torch_compile={asked!r} records CUDA graphs, which a CPU does not have"
            raise Refused(f"pytorch: {told}; take {GRAPHS[asked]!r}")
        if asked:
            _check_inductor(device)
        return
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        known = ", ".join(sorted(torch.compiler.list_backends()))
        raise Refused(f"pytorch: torch_compile_backend={backend!r} is not here; torch has {known}")
    if mode_of(options["torch_compile"]):
        raise Refused(
            f"pytorch: torch_compile={options['torch_compile']!r} is a mode of inductor, not of {backend!r}; "
            "say torch_compile=True"
        )


def _check_inductor(device: torch.device) -> None:
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise Refused("pytorch: torch_compile: inductor needs triton for a GPU, which is not installed; install triton")
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise Refused("pytorch: torch_compile: inductor needs a C++ compiler for a CPU; install g++, or name it in CXX")


def compile_model(model: Any, options: dict[str, Any]) -> None:
    """Compile a model whose cache grows, prompt and steps alike; one with a static cache transformers compiles."""
    asked = options.get("torch_compile")
    if asked in (None, False):
        return
    # Past its limit torch would run uncompiled in silence.
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    if options.get("cache_implementation") != "static":
        backend = options.get("torch_compile_backend") or "inductor"
        model.forward = torch.compile(model.forward, mode=mode_of(asked), backend=backend)


def forget_compiled(model: Any) -> None:
    """Begin anew: what was compiled for other shapes would make torch compile the next ones for any shape."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
        for name in ("_compiled_call", "_last_compile_config"):
            vars(model).pop(name, None)


def compiled(model: Any) -> tuple[str | None, str | None]:
    """Mode and backend of what torch compiled of the model's forward; None, None where it runs as it is written."""
    found = {(_mode(entry.backend), _backend(entry.backend)) for entry in _entries(type(model).forward)}
    if len(found) > 1:
        raise RuntimeError(f"compiled in more than one way: {sorted(map(str, found))}")
    return found.pop() if found else (None, None)


def _entries(forward: Any) -> list[Any]:
    """Torch's own record of what it compiled of a function, or of those that it wraps."""
    if "torch._dynamo" not in sys.modules:
        return []
    from torch._dynamo.eval_frame import _debug_get_cache_entry_list

    entries: list[Any] = []
    while forward is not None:
        entries += _debug_get_cache_entry_list(forward.__code__)
        forward = getattr(forward, "__wrapped__", None)
    return entries


def _backend(callback: Any) -> str:
    return str(getattr(callback, "compiler_name", None) or getattr(callback, "__name__", type(callback).__name__))


def _mode(callback: Any) -> str:
    """Inductor keeps the settings that a mode stands for, not its name."""
    held = getattr(callback, "config", None) or {}
    graphs, tuned = held.get("triton.cudagraphs", False), held.get("max_autotune", False)
    if tuned:
        return "max-autotune" if graphs else "max-autotune-no-cudagraphs"
    return "reduce-overhead" if graphs else "default"


def graphs_left_out() -> int:
    """How often inductor was to record a CUDA graph in this process, and did not."""
    if "torch._dynamo" not in sys.modules:
        return 0
    from torch._dynamo.utils import counters

    return int(counters["inductor"]["cudagraph_skips"])


def compiles() -> int:
    """How many graphs torch has compiled in this process."""
    if "torch._dynamo" not in sys.modules:
        return 0
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def warm_up(run_pass: Callable[[], None]) -> int:
    """Run passes until one compiles nothing, so that no measured one does; returns how many graphs there are.

    Raises Refused for a work whose shapes never come to an end.
    """
    began = compiles()
    for number in range(1, MOST_PASSES + 1):
        before = compiles()
        run_pass()
        if compiles() == before and number >= LEAST_PASSES:
            return compiles() - began
    raise Refused(
        f"pytorch: torch_compile still compiles in pass {MOST_PASSES}; ask for prompts and answers of equal lengths"
    )
