"""The names of number formats: ids write them short, options take both."""

from __future__ import annotations

PRECISION_IDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_LONG = {short: name for name, short in PRECISION_IDS.items()}


def canonical_precision(name: str) -> str:
    """`bf16` or `bfloat16` → `bfloat16`. Raises ValueError that lists the known names."""
    long = _LONG.get(name, name)
    if long not in PRECISION_IDS:
        known = ", ".join(f"{long} ({short})" for long, short in PRECISION_IDS.items())
        raise ValueError(f"unknown precision {name!r}; known: {known}")
    return long
