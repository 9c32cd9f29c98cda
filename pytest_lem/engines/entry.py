"""What an engine is to the rest of pytest-lem: a name, an adapter file, and the options it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def one_gpu(_options: Mapping[str, Any]) -> int:
    """The GPUs of an engine that runs on one."""
    return 1


def together(_options: Mapping[str, Any]) -> str:
    """Why requests cannot arrive over time: they are one batch."""
    return "it takes all requests of a pass together"


@dataclass(frozen=True)
class EngineEntry:
    """One engine that can be asked for by name.

    `adapter` is the Python file that defines `class Adapter` (see `engines/child/adapter.py`); the engine's process
    loads it by its path, so it imports the standard library and its engine, nothing else. `options` validates
    `EngineSpec.options`; None means that the engine takes none. `precisions` are the long names it runs. `needs` is the
    command that installs the engine, shown when its interpreter lacks it. `gpus` tells how many GPUs checked options
    need, `arrivals` why requests cannot arrive over time with them (empty: they can). An engine is killed when it has
    not stopped after `stop_seconds`. A third-party distribution registers its entry under the entry-point group
    `pytest_lem.engines`.
    """

    name: str
    adapter: Path
    options: type[BaseModel] | None = None
    precisions: tuple[str, ...] = ("float32", "float16", "bfloat16")
    needs: str = ""
    gpus: Callable[[Mapping[str, Any]], int] = one_gpu
    arrivals: Callable[[Mapping[str, Any]], str] = together
    stop_seconds: float = 10.0
