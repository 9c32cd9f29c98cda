"""What a user may ask for by one name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "deterministic": {"temperature": 0.0},
    "standard": {"temperature": 1.0, "top_p": 0.95, "top_k": 50},
    "creative": {"temperature": 1.2, "top_p": 0.98, "top_k": 100},
    "factual": {"temperature": 0.3, "top_p": 0.9, "top_k": 40},
}
"""Decoding by name."""

SERVICE_LEVELS: Mapping[str, Mapping[str, float]] = {
    "llama3.1-8b": {"ttft_ms": 2000, "tpot_ms": 100},
    "llama2-70b": {"ttft_ms": 2000, "tpot_ms": 200},
    "interactive": {"ttft_ms": 450, "tpot_ms": 40},
}
"""Service levels by name: the latency constraints of MLPerf Inference's server scenario, at its 99th percentile."""


def preset(name: str, known: Mapping[str, Mapping[str, Any]], what: str) -> dict[str, Any]:
    """The fields that a name stands for. Raises ValueError with the nearest known name."""
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown {what} {name!r}; the nearest known one is {near!r} of {', '.join(known)}")
    return dict(known[name])
