"""The environment tells where a run was measured, and only what is true."""

from __future__ import annotations

import platform
from importlib.metadata import version

from builders import a_gpu

from pytest_lem.store.environment import collect_environment, installed


def test_the_environment_names_this_host_and_the_gpus_it_was_given():
    found = collect_environment([a_gpu("GPU-a")])
    assert (found.host, found.python) == (platform.node(), platform.python_version())
    assert [gpu.uuid for gpu in found.gpus] == ["GPU-a"]
    assert found.packages["pytest"] == version("pytest")
    assert found.packages["pytest-lem"] == version("pytest-lem")


def test_a_package_that_is_not_installed_is_left_out():
    assert installed(["pytest", "no-such-package-of-ours"]) == {"pytest": version("pytest")}
