"""Versions of what computes beneath an engine, by this interpreter."""

from __future__ import annotations

import platform
import re
from importlib.metadata import distributions

_KERNELS = frozenset(
    {
        *("accelerate", "autoawq", "bitsandbytes", "compressed-tensors", "deep-ep", "deep-gemm", "flash-attn"),
        *("flash-attn-3", "flash-attn-4", "flash-linear-attention", "flashinfer-python", "gptqmodel"),
        *("intel-extension-for-pytorch", "kernels", "liger-kernel", "torchao", "triton", "xformers"),
    }
)
"""Engines take kernels from those that they find installed, asked for or not."""
_CUDA = ("nvidia-cublas", "nvidia-cudnn", "nvidia-nccl", "nvidia-nvshmem")
"""Beginnings of names, behind which stands the version of CUDA, or nothing. torch pins them, pip replaces them."""


def versions(engine: dict[str, str | None], cuda: str | None) -> dict[str, str | None]:
    """Those of the `engine`'s own libraries, of Python and CUDA, and of each installed library that brings kernels."""
    kernels: dict[str, str] = {}
    for each in distributions():
        name = re.sub(r"[-_.]+", "-", each.metadata["Name"] or "").lower()
        if name in _KERNELS or name.startswith(_CUDA):
            kernels.setdefault(name, each.version)  # the first on the path is the one that is imported
    return {**engine, "python": platform.python_version(), "cuda": cuda, **dict(sorted(kernels.items()))}
