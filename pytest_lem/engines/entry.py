"""What an engine is to the rest of pytest-lem: a name, an adapter file, and the options it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.work import Work


def one_gpu(_options: Mapping[str, Any]) -> int:
    """The GPUs of an engine that runs on one."""
    return 1


def one_rank(_options: Mapping[str, Any]) -> int:
    """The processes that share an engine whose adapter runs in one, whatever that one starts."""
    return 1


def shown_all(_options: Mapping[str, Any]) -> bool:
    """Of an engine whose ranks see the GPUs of each other."""
    return False


def unremarkable(_options: Mapping[str, Any], _work: Work) -> str | None:
    """Of an engine that does all of a work as it is handed over."""
    return None


def fits(_options: Mapping[str, Any], _config: Mapping[str, Any]) -> str | None:
    """Of an engine that splits no model, or tells only once it runs."""
    return None


def one_batch(_options: Mapping[str, Any], workload: WorkloadSpec) -> tuple[str, str] | None:
    """Which field cannot be asked of an engine that decodes one batch of equal requests greedily, and why."""
    if workload.arriving is not None:
        field = "target_qps" if workload.target_qps is not None else "traffic"
        return field, "it takes all requests of a pass together"
    for field in ("batching", "requests", "data", "generator", "decoding"):
        if getattr(workload, field) != WorkloadSpec.model_fields[field].default:
            return field, "it decodes one batch of equal requests, each with the likeliest tokens"
    for field in ("prompt_tokens", "output_tokens"):
        if not isinstance(getattr(workload, field), int):
            return field, "it takes requests of equal lengths"
    return None


def not_told(_options: Mapping[str, Any], _config: Mapping[str, Any]) -> int | None:
    """The positions of an engine that tells them only once it runs."""
    return None


def nothing_built(_options: Mapping[str, Any]) -> bool:
    """Of an engine that serves a model as it is."""
    return False


def ten_minutes(_options: Mapping[str, Any]) -> float:
    """Of an engine that loads a model, compiles a little, and serves."""
    return 600.0


@dataclass(frozen=True)
class EngineEntry:
    """One engine that can be asked for by name.

    `adapter` is the Python file that defines `class Adapter` (see `engines/child/adapter.py`); the engine's process
    loads it by its path, so it imports the standard library and its engine, nothing else. `options` validates
    `EngineSpec.options`; None means that the engine takes none. `precisions` are the long names it runs. `needs` is the
    command that installs the engine, shown when its interpreter lacks it, `packages` the modules that it runs on,
    whose versions `lem engines` tells. `gpus` tells how many GPUs checked options need (None: as many as are asked
    for), `refuses` which field of a workload cannot be asked with them, and why (None: it can be). `positions` is how
    many tokens a request and its answer have room for, by the options and the model's `config.json` (empty where it
    does not lie here); None where only the running engine knows. `ranks` is how many copies of the child, each with the
    adapter, share the engine, `misfits` why the model cannot be split among them (None: it can), both told by the same,
    and `own_gpu` whether each of them sees the GPU of its number alone.
    `remarks` is what a reader has to know of how a work is done with the options (None: nothing). `builds` tells
    whether a start with the options may build an engine: its adapter observes `build` then, with `start_ns` (monotonic)
    and `seconds`, and meters watch the start. `continuous`: it batches continuously whatever comes, so that a batching
    strategy only says how requests are submitted. An engine is killed when it does not serve after `start_seconds`, and
    when it has not stopped after `stop_seconds`. A third-party distribution registers its entry under the entry-point
    group `pytest_lem.engines`.
    """

    name: str
    adapter: Path
    options: type[BaseModel] | None = None
    precisions: tuple[str, ...] = ("float32", "float16", "bfloat16")
    needs: str = ""
    packages: tuple[str, ...] = ()
    gpus: Callable[[Mapping[str, Any]], int | None] = one_gpu
    refuses: Callable[[Mapping[str, Any], WorkloadSpec], tuple[str, str] | None] = one_batch
    positions: Callable[[Mapping[str, Any], Mapping[str, Any]], int | None] = not_told
    ranks: Callable[[Mapping[str, Any]], int] = one_rank
    misfits: Callable[[Mapping[str, Any], Mapping[str, Any]], str | None] = fits
    own_gpu: Callable[[Mapping[str, Any]], bool] = shown_all
    remarks: Callable[[Mapping[str, Any], Work], str | None] = unremarkable
    builds: Callable[[Mapping[str, Any]], bool] = nothing_built
    continuous: bool = False
    start_seconds: Callable[[Mapping[str, Any]], float] = ten_minutes
    stop_seconds: float = 10.0
