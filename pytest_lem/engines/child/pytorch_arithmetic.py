"""How torch multiplies: float32's precision, TF32, and only algorithms that give the same bits each time."""

from __future__ import annotations

import os
from typing import Any

import torch

from .faults import Refused

FIRST_WITH_TF32 = (8, 0)


def set_arithmetic(options: dict[str, Any], device: torch.device) -> None:
    """Set what was asked for, before the model is made. Raises Refused for TF32 on a device without it."""
    if options.get("matmul_precision"):
        torch.set_float32_matmul_precision(options["matmul_precision"])
    if options.get("tf32") is not None:
        _set_tf32(on=options["tf32"], device=device)
    if options.get("deterministic") is not None:
        # cuBLAS reads it when its first handle is made.
        if options["deterministic"]:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(options["deterministic"])


def _set_tf32(*, on: bool, device: torch.device) -> None:
    if on and device.type != "cuda":
        raise Refused("pytorch: tf32=True needs a GPU; leave it out, or ask for device 'cuda'")
    if on and torch.cuda.get_device_capability(device) < FIRST_WITH_TF32:
        found = "{}.{}".format(*torch.cuda.get_device_capability(device))
        raise Refused(f"pytorch: tf32=True needs compute capability 8.0 or newer, this GPU has {found}; leave it out")
    torch.set_float32_matmul_precision("high" if on else "highest")


def arithmetic() -> dict[str, Any]:
    """What torch is set to now."""
    precision = torch.get_float32_matmul_precision()
    return {
        "matmul_precision": precision,
        "tf32": precision != "highest" and torch.cuda.is_available(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
