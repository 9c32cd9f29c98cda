"""What every test shares: pytester, hypothesis without a clock, and honest skips."""

from __future__ import annotations

import os
import shutil
import signal
from functools import cache
from importlib.util import find_spec

import pynvml
import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester", "no_skips", "users_project", "xdist_campaign", "browser_lab", "forge_lab"]
collect_ignore = ["experiments"]  # files that tests read; pytest would measure them

PACKAGES = {"torch": "torch", "vllm": "vllm", "gptqmodel": "gptqmodel", "xdist": "pytest-xdist"}
"""Markers that are called as the module that they need, and the package that brings it."""

# A shared or slow machine must not fail a test: hypothesis times nothing. In CI it draws the same cases every time, so
# that a red run is the change's own; elsewhere it keeps looking for new ones.
settings.register_profile(
    "lem", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lem")


# A run that a shell has put into the background ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def is_here(module: str) -> bool:
    """Whether a module can be imported; the folder of compiled files that pip leaves behind is none."""
    found = find_spec(module)
    return found is not None and found.origin is not None


@cache
def has_gpu() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    try:
        return bool(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A nested run is a run of its own: no worker of the outer one, and in order where pytest-randomly is installed.

    Two plugins that our own tests bring along stay out of it: they take as long to import as ours.
    """
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:randomly -p no:hypothesispytest -p no:anyio")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)  # of the outer run's step
    return pytester


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, package in PACKAGES.items():
        if item.get_closest_marker(marker) and not is_here(marker):
            pytest.skip(f"{package} is not installed")
    if item.get_closest_marker("gpu") and not has_gpu():
        pytest.skip("no NVIDIA GPU here")
    if item.get_closest_marker("mpi") and (find_spec("mpi4py") is None or shutil.which("orted") is None):
        pytest.skip("mpi4py is not installed, or there is no Open MPI (.ci/mpi)")
    if item.get_closest_marker("browser"):
        from browser_lab import chromium  # registered above, as a plugin

        if not (find_spec("playwright") and chromium()):
            pytest.skip("Playwright is not installed, or there is no Chromium (.ci/browser)")
    for module in (name for mark in item.iter_markers("neighbours") for name in mark.args):
        if not is_here(module):
            pytest.skip(f"{module.replace('_', '-')} is not installed")
