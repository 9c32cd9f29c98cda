"""Options are refused before anything is collected; loaded only when one is set."""

from __future__ import annotations

import pytest

from pytest_lem.campaign.matrix import Layers, cells, protocol
from pytest_lem.engines import registry
from pytest_lem.model.specs import EngineSpec
from pytest_lem.plugin import options
from pytest_lem.plugin.limits import command_limits


def check_options(config: pytest.Config) -> None:
    """Raise UsageError for a backend, precision, batch, model, interpreter, budget or number that cannot be."""
    for backend in options.value(config, "backend") or []:
        registry.entry(backend, place="--lem-backend")
    layers = layers_of(config, {}, place="--lem")
    made = cells(layers, registry.names())
    for cell in made if isinstance(made, list) else []:
        _check_model(cell.engine)
    protocol(layers, quick=bool(options.value(config, "quick")) if config.getoption("lem_quick") else False)
    command_limits(config)


def layers_of(config: pytest.Config, marker: dict[str, object], *, place: str) -> Layers:
    """The three layers of one test: its merged markers, the command line, the ini."""
    names = ("backend", "model", "precision", "batch", "rounds", "round_seconds", "max_seconds")
    return Layers(
        marker=marker,
        command={name: options.command(config, name) for name in names},
        settings={name: options.setting(config, name) for name in names},
        pythons=options.pythons(config),
        place=place,
    )


def _check_model(spec: EngineSpec) -> None:
    registry.validate(spec)
