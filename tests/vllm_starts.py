"""Start real vLLM in tests: on the CPU, without compiling, with a small pool; nothing may be left of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine_starts import is_gone, spec

from pytest_lem.engines.host import Engine
from pytest_lem.model.specs import WorkloadSpec

POOL = 1 << 29
SMALL = {"enforce_eager": True, "kv_cache_memory_bytes": POOL, "max_model_len": 16384}


@contextmanager
def vllm(
    folder: Path,
    *,
    model: str = "synthetic:tiny",
    precision: str = "bfloat16",
    on_progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Iterator[Engine]:
    """A running vLLM engine, killed in the end, which takes less time than a stop; no process of it may be left."""
    asked = spec("vllm", model=model, precision=precision, options={**SMALL, **options})
    engine = Engine.start(asked, gpus=(), log_path=folder / "engine.log", on_progress=on_progress)
    pids = engine.pids()
    try:
        yield engine
    finally:
        engine.kill()
    assert [pid for pid in pids if not is_gone(pid)] == []


def tokens_that_last(engine: Engine, seconds: float, batch: int) -> int:
    """How many output tokens a request needs to last about `seconds` on this machine."""
    engine.prepare(WorkloadSpec(batch=batch, output_tokens=200))
    engine.run(1)
    return math.ceil(seconds * 200 / engine.run(1).seconds)
