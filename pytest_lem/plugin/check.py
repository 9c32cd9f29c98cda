"""Options are refused before anything is collected; loaded only when one is set."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lem.campaign.matrix import Layers, cells, validated
from pytest_lem.cooling import gap_rule
from pytest_lem.engines import registry
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import ProtocolSpec
from pytest_lem.plugin import options
from pytest_lem.plugin.limits import command_limits


def check_options(config: pytest.Config) -> None:
    """Raise UsageError for a backend, precision, batch, model, interpreter, budget or number that cannot be."""
    for backend in options.value(config, "backend") or []:
        registry.entry(backend, place="--lem-backend")
    for backend in options.pythons(config):
        registry.entry(backend, place="--lem-python")
    layers = layers_of(config, {}, place="--lem")
    made = cells(layers, registry.names())
    for cell in made if isinstance(made, list) else []:
        registry.validate(cell.engine)
    for name in ("cycles", "rounds", "round_seconds", "max_seconds"):
        asked = options.value(config, name)
        if asked is not None:
            validated(ProtocolSpec, {name: asked}, f"--lem-{name.replace('_', '-')}")
    gap = options.value(config, "gap")
    if gap is not None:
        gap_rule(gap)
    command_limits(config)
    _check_copy(config)


def layers_of(config: pytest.Config, marker: dict[str, object], *, place: str) -> Layers:
    """The three layers of one test: its merged markers, the command line, the ini."""
    names = ("backend", "model", "precision", "batch", "cycles", "rounds", "round_seconds", "max_seconds")
    return Layers(
        marker=marker,
        command={name: options.command(config, name) for name in names},
        settings={name: options.setting(config, name) for name in names},
        pythons=options.pythons(config),
        place=place,
    )


def _check_copy(config: pytest.Config) -> None:
    copy = options.value(config, "json")
    target = Path(config.invocation_params.dir, copy) if copy else None
    if target is not None and target.is_dir():
        raise UsageError(f"--lem-json={copy}: that is a folder; name a file")
    if target is not None and not target.parent.is_dir():
        raise UsageError(f"--lem-json={copy}: there is no such folder; make it, or name another")
