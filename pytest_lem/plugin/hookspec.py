"""Hooks of pytest-lem for a conftest or another plugin: what belongs to a run.

Engines, meters and workloads are entry points instead: the command line and the engine's process can't see hooks.
"""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookspec()
def pytest_lem_machine_info(config: pytest.Config, info: dict[str, Any]) -> None:
    """Add facts about the machine to `info["extra"]` of run.json (a rack, a cooling setup); plain JSON values.

    Called once a run, in the process that creates the run's folder, before the first engine starts.
    """


@pytest.hookspec()
def pytest_lem_workloads(config: pytest.Config) -> Any:
    """Return workloads of your own by name, for the keyword `generator`: a dictionary of functions.

    Each is called with the WorkloadSpec and the size of the model's vocabulary, and yields dictionaries: `prompt` (a
    text, or token ids), and if it likes `output_tokens` and `arrival_s`. See `pytest_lem.workloads.generators`.
    """


@pytest.hookspec(firstresult=True)
def pytest_lem_update_record(config: pytest.Config, measurement: Any) -> Any:
    """Return a changed copy of a finished Measurement, or None to leave it as it is.

    Called in the process that measured, after the last round and before it is written.
    """
