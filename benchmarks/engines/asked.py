"""What the scripts that start engines have in common: their options, and the boards that they run on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.graphwork.board import Board

Json = dict[str, Any]


def parser(description: str | None, file: str, options: Json) -> argparse.ArgumentParser:
    """A parser with the folder for `file`, and the engine: backend, model, options (by default `options`)."""
    made = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    made.add_argument("--out", type=Path, required=True, help=f"folder for {file}")
    made.add_argument("--backend", default="vllm")
    made.add_argument("--model", default="synthetic:tiny")
    made.add_argument("--options", type=json.loads, default=options)
    return made


def boards(uuids: Sequence[str]) -> list[Json]:
    """What names these boards in a result; by UUID, since NVML counts boards that CUDA does not see."""
    if not uuids:
        return []
    count: int = Board().facts()["count"]
    found = {board.uuid: board for board in map(Board, range(count))}
    return [found[uuid].facts() for uuid in uuids]


def named(gpus: Sequence[Json]) -> str:
    """The boards in words."""
    return ", ".join(f"{gpu['name']}, driver {gpu['driver']}" for gpu in gpus) or "no GPU"


def by_uuid(gpus: Sequence[Json]) -> str:
    """The boards in words, told apart."""
    return ", ".join(f"{gpu['name']} ({gpu['uuid']}, driver {gpu['driver']})" for gpu in gpus) or "no GPU"
