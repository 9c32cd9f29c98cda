"""Workloads of the user's own, where pytest asks for them: those of conftests, and whether one that is named is there.

Imported where a test asks for one, or an engine starts.
"""

from __future__ import annotations

import pytest

from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads import generators


def take_generators(config: pytest.Config) -> None:
    """Know what conftests give. Raises UsageError for what is no mapping."""
    generators.give(config.hook.pytest_lem_workloads(config=config))


def check_generator(config: pytest.Config, workload: WorkloadSpec) -> None:
    """Raise UsageError, one line that names it, for a generator that is not there or cannot be imported or called."""
    if workload.generator is not None:
        take_generators(config)
        generators.find_generator(workload.generator)
