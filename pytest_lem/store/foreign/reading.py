"""A file of another tool → its rows, by what is in it. Whatever is wrong with it is one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pytest_lem.model.errors import StoreError
from pytest_lem.model.foreign import Foreign
from pytest_lem.store.files import first_fault
from pytest_lem.store.foreign import optimum, pytest_benchmark
from pytest_lem.store.foreign.optimum_file import Config, TargetMap

KNOWN = "optimum-benchmark's benchmark_report.json or benchmark.json, or pytest-benchmark's --benchmark-json"
CONFIG = "benchmark_config.json"
LARGEST = 200 * 2**20
_TARGET = {"memory", "latency", "throughput", "energy", "efficiency"}
Model = TypeVar("Model", bound=BaseModel)


def read_foreign(path: Path) -> Foreign:
    """The file at `path`. Raises StoreError where it is none of those that are known."""
    data = _json(path)
    if isinstance(data.get("benchmarks"), list) and "machine_info" in data:
        file = _valid(pytest_benchmark.File, data, path)
        tool, rows = pytest_benchmark.TOOL, pytest_benchmark.benchmark_rows(file)
        told = {"version": file.version, "when": file.timestamp, "means": pytest_benchmark.MEANS}
        return Foreign(tool=tool, file=path.name, rows=rows, **told)
    if str(data.get("schema", "")).startswith("lem."):
        raise StoreError(f"{path}: pytest-lem wrote this itself ({data['schema']}): name it as RUN, nothing to import")
    if _is_report(data.get("report")) and isinstance(data.get("config"), dict):
        return _optimum(path, data["report"], _valid(Config, data["config"], path))
    if _is_report(data):
        beside = path.with_name(CONFIG)
        return _optimum(path, data, _valid(Config, _json(beside), beside) if beside.is_file() else Config())
    raise StoreError(f"{path}: not a file that can be imported; expected {KNOWN}")


def _optimum(path: Path, report: Any, asked: Config) -> Foreign:
    targets = {key: each for key, each in _valid(TargetMap, report, path).root.items() if each is not None}
    row = optimum.optimum_row(targets, asked, path.parent.name or path.stem)
    version = asked.environment.get("optimum_benchmark_version") or ""
    return Foreign(tool=optimum.TOOL, version=str(version), file=path.name, means=optimum.MEANS, rows=(row,))


def _is_report(data: Any) -> bool:
    """Whether it maps targets to what was tracked of them, one of them at least."""
    if not isinstance(data, dict):
        return False
    known = [each for each in data.values() if isinstance(each, dict)]
    return bool(known) and all(each.keys() and each.keys() <= _TARGET for each in known)


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise StoreError(f"{path}: larger than {LARGEST // 2**20} MiB; expected {KNOWN}")
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not JSON ({str(error).splitlines()[0]}); expected {KNOWN}") from error
    if not isinstance(data, dict):
        raise StoreError(f"{path}: not a file that can be imported; expected {KNOWN}")
    return data


def _valid(kind: type[Model], data: Any, path: Path) -> Model:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise StoreError(f"{path}: {first_fault(error)}") from error
