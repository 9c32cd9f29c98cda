"""Pytest's side: the only room that imports pytest.

This module is imported by every pytest run on a machine that has the package, so it, and whatever it imports, stays
light: no pydantic, numpy, yaml or NVML before a test asks for a fixture of ours.
"""

from __future__ import annotations

import pytest

from pytest_lem.plugin import (
    assertion,
    budgets,
    collection,
    distribution,
    fixtures,
    gates,
    hookspec,
    lifecycle,
    options,
    ordering,
    planning,
    summary,
)

INTERNAL = {
    "lem-assertion": assertion,
    "lem-budgets": budgets,
    "lem-collection": collection,
    "lem-distribution": distribution,
    "lem-fixtures": fixtures,
    "lem-gates": gates,
    "lem-ordering": ordering,
    "lem-planning": planning,
    "lem-summary": summary,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and their ini twins."""
    options.add(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let a conftest or another plugin implement `pytest_lem_*`."""
    pluginmanager.add_hookspecs(hookspec)


def pytest_configure(config: pytest.Config) -> None:
    """Describe the markers, refuse options that cannot be, register one internal plugin per feature."""
    for line in options.MARKERS:
        config.addinivalue_line("markers", line)
    options.check(config)
    if config.getoption("lem_explain"):
        from pytest_lem.plugin.explain import Explain

        config.pluginmanager.register(Explain(config), "lem-explain")
    for name, module in INTERNAL.items():
        config.pluginmanager.register(module, name)
    config.pluginmanager.register(lifecycle.Lifecycle(config), "lem-lifecycle")


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One worker a set of GPUs, where a lem option asks; called before anything is configured."""
    return distribution.auto_workers(config)
