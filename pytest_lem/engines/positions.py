"""Whether a model can be split and has as many positions as is asked, where that is known before its engine starts.

Not every engine or model tells, and texts are counted by the tokenizer: the engine itself refuses the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_lem.engines import registry
from pytest_lem.engines.models import locate
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.workloads.work import known_lengths


def check_positions(spec: EngineSpec, workload: WorkloadSpec) -> None:
    """Raise UsageError, one line, for a model that cannot be split as asked, or has fewer positions than a request."""
    config = _config(spec)
    misfit = registry.entry(spec.backend).misfits(spec.options, config)
    if misfit:
        raise UsageError(f"{spec.backend}: {misfit}")
    limit = registry.entry(spec.backend).positions(spec.options, config)
    if limit is None:
        return
    for index, (field, prompt, output) in enumerate(known_lengths(workload)):
        if prompt + output > limit:
            raise UsageError(
                f"{field}: request {index} has {prompt} prompt and {output} output tokens, more than the {limit} "
                f"positions of {spec.model!r} on {spec.backend}; ask for fewer tokens"
            )


def _config(spec: EngineSpec) -> dict[str, Any]:
    """The model's own configuration of its text part, as far as it lies here: of a hub's model, or of a GGUF, none."""
    source = locate(spec.model, gguf_file=spec.options.get("gguf_file"))
    if source.kind == "hub" or spec.options.get("gguf_file"):
        return {}
    place = Path(source.location)
    try:
        config = json.loads((place / "config.json" if place.is_dir() else place).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the engine says it better
        return {}
    return {**config, **(config.get("text_config") or {})} if isinstance(config, dict) else {}
