"""An experiment file as a module of tests: one function, marked by what the file says, run by the code of any other.

Imported where a `*.lem.yaml` is collected, by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from pytest_lem.experiment.campaign import read_campaign
from pytest_lem.experiment.experiment import Experiment, is_experiment, read_experiment
from pytest_lem.model.errors import LemError
from pytest_lem.plugin.collection import FILE, NOTES


class ExperimentFile(pytest.Module):
    """A `*.lem.yaml`: collected like a module, so that parameters, gates, selection and workers know no difference."""

    def funcnamefilter(self, name: str) -> bool:  # noqa: ARG002 - pytest's signature
        """Whether a function is a test: it is here for that alone."""
        return True

    def _getobj(self) -> ModuleType:
        module = ModuleType(self.path.name)
        module.__file__ = str(self.path)
        shown = shown_for(self.config)
        try:
            if read_campaign(self.path, shown) is not None:
                return module  # its files are experiments of their own
            experiment = read_experiment(self.path, shown)
        except LemError as error:
            raise self.CollectError(str(error)) from None
        self.config.stash.setdefault(NOTES, []).extend(experiment.notes)
        setattr(module, experiment.name, _function(experiment, self.path))
        return module


def shown_for(config: pytest.Config) -> Callable[[Path], str]:
    """How errors and origins call a file: by its path from pytest's root where it lies under it."""

    def shown(path: Path) -> str:
        resolved, root = path.resolve(), config.rootpath.resolve()
        return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)

    return shown


def notes_of(config: pytest.Config, ids: Iterable[str]) -> list[str]:
    """The notes of the files that tests of these ids lie in, for a process that has not collected them itself."""
    names = {test.partition("::")[0] for test in ids}
    files = [config.rootpath / name for name in sorted(names) if is_experiment(name)]
    found: dict[str, None] = {}
    for path in files:
        with suppress(LemError):  # the workers have told it
            found |= dict.fromkeys(read_experiment(path, shown_for(config)).notes)
    return list(found)


def _function(experiment: Experiment, path: Path) -> Any:
    """The test: it lies, for pytest and for its reports, in the file at the line that names it."""

    def measure(lem_backend: Any, lem_workload: Any, lem_energy: Any) -> None:
        lem_energy.measure(lem_backend, lem_workload)

    code = measure.__code__.replace(
        co_filename=str(path), co_firstlineno=experiment.line, co_name=experiment.name, co_qualname=experiment.name
    )
    test: Any = FunctionType(code, {"__name__": path.name}, experiment.name)
    test.__doc__ = f"Measure what {experiment.file} asks for."
    setattr(test, FILE, experiment)
    test = pytest.mark.lem(**experiment.keywords)(test)
    if experiment.budgets:
        test = pytest.mark.lem_budget(**experiment.budgets)(test)
    for gate in experiment.gates:
        test = pytest.mark.lem_gate(**gate)(test)
    return test
