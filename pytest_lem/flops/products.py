"""In what numbers an engine multiplies: the peak that its FLOPs are held against is that of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_lem.model.errors import Unavailable

_WEIGHTS_ONLY = frozenset(
    {
        *("4bit", "fp4", "int4_weight_only", "int8_weight_only", "float8_weight_only"),
        *("awq", "awq_marlin", "gptq", "gptq_marlin", "gguf"),
    }
)
"""Ways to store weights that are turned back into the engine's precision before they are multiplied."""
_FLOAT8 = frozenset({"fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel"})
"""vLLM's ways to store weights in 8 bits, where it makes activations 8 bits wide too on boards that multiply such."""


def multiplied_in(precision: str, observed: Mapping[str, Any]) -> str:
    """`precision`, or `TF32` or `float8` where the `observed` configuration says so.

    Raises Unavailable where layers are quantised in a way of which that is not known.
    """
    # An engine's own word, which it has of files that are quantised already too, says more than the one that was asked.
    way = _of(observed, "engine", "quantization") or _of(observed, "options", "quantization")
    if way is None or way in _WEIGHTS_ONLY:
        return "TF32" if precision == "float32" and _of(observed, "options", "tf32") is True else precision
    if way in _FLOAT8:
        return "float8"
    raise Unavailable("peaks", f"in what numbers layers that are quantised as {way!r} are multiplied is not known")


def _of(observed: Mapping[str, Any], part: str, name: str) -> Any:
    found = observed.get(part)
    return found.get(name) if isinstance(found, Mapping) else None
