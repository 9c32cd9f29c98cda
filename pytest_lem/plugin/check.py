"""Options are refused before anything is collected; loaded only when one is set."""

from __future__ import annotations

import re
from math import nan
from pathlib import Path
from typing import Any

import pytest

from pytest_lem.campaign import project
from pytest_lem.campaign.matrix import Layers, cells, protocol, validated
from pytest_lem.cooling import gap_rule
from pytest_lem.engines import registry
from pytest_lem.flops.chain import ASKED, Asked
from pytest_lem.meters.pace import HERTZ, LEAST_HERTZ, MOST_HERTZ
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import ProtocolSpec
from pytest_lem.plugin import options
from pytest_lem.plugin.collection import experiment_file, marker_of, marker_origins
from pytest_lem.plugin.gate_rules import check_gates
from pytest_lem.plugin.limits import command_limits

PROJECT: pytest.StashKey[project.Project] = pytest.StashKey()


def check_options(config: pytest.Config) -> None:
    """Raise UsageError for a backend, precision, batch, model, interpreter, budget or number that cannot be."""
    for backend in options.value(config, "backend") or []:
        registry.entry(backend, place="--lem-backend")
    for backend in options.pythons(config):
        registry.entry(backend, place="--lem-python")
    layers = layers_of(config, None)
    cells(layers, registry.names(), checked=registry.validate, check_option=registry.check_option)
    protocol(layers, quick=options.quick(config))
    for name in ("cycles", "rounds", "round_seconds", "max_seconds"):
        asked = options.value(config, name)
        if asked is not None:
            validated(ProtocolSpec, {name: asked}, f"--lem-{name.replace('_', '-')}")
    allowed_failures(config)
    gap = options.value(config, "gap")
    if gap is not None:
        gap_rule(gap)
    command_limits(config)
    check_gates(config)
    _check_copies(config)
    flops_method(config)
    telemetry_hertz(config)
    tariff(config)


def layers_of(config: pytest.Config, test: pytest.Item | Any | None) -> Layers:
    """The layers of one test: its merged markers, command line, project file, ini. No test: those without markers."""
    names = ("backend", "model", "precision", "batch", "cycles", "rounds", "round_seconds", "max_seconds")
    written, file = project_of(config), experiment_file(test)
    return Layers(
        marker={} if test is None else marker_of(test),
        command={name: options.command(config, name) for name in names},
        settings={name: options.setting(config, name) for name in names},
        pythons=options.pythons(config),
        place="--lem" if test is None else file.file if file else "@pytest.mark.lem",
        project=written.values,
        origins={
            "marker": {} if test is None else marker_origins(test),
            "command": config.stash.get(options.SAID, {}),
            "project": written.origins,
            "settings": {name: ini_origin(config, f"lem_{name}") for name in names},
        },
        written_down=file is not None,
    )


def allowed_failures(config: pytest.Config) -> int:
    """How many engines may fail in a row. Raises UsageError for none."""
    asked = options.value(config, "max_engine_failures")
    most = 3 if asked is None else int(asked)
    if most < 1:
        raise UsageError(f"--lem-max-engine-failures={most}: at least one engine must be allowed to fail")
    return most


def flops_method(config: pytest.Config) -> Asked:
    """Who is asked first how many FLOPs the work takes. Raises UsageError for a method that is none."""
    asked = options.value(config, "flops") or "analytic"
    for method in ASKED:
        if method == asked:
            return method
    raise UsageError(f"--lem-flops={asked}: unknown method; known: {', '.join(ASKED)}")


def telemetry_hertz(config: pytest.Config) -> float | None:
    """How often GPUs are asked while they work (Hz), None for not at all. Raises UsageError for anything else."""
    asked = options.value(config, "telemetry")
    if asked is None:
        return HERTZ
    if asked in ("off", "0"):
        return None
    try:
        hertz = float(asked)
    except ValueError:
        hertz = nan
    if not LEAST_HERTZ <= hertz <= MOST_HERTZ:
        raise UsageError(
            f"--lem-telemetry={asked}: expected samples a second, {LEAST_HERTZ:g} to {MOST_HERTZ:g} (default: "
            f"{HERTZ:g}), or off"
        )
    return hertz


def tariff(config: pytest.Config) -> tuple[float | None, str]:
    """What a kWh costs, and in which currency; None where it was not said. Raises UsageError for what is no price."""
    asked = options.value(config, "tariff")
    if not asked:
        return None, ""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([^\d\s]*)", str(asked).strip())
    if found is None:
        raise UsageError(f"--lem-tariff={asked}: expected the price of a kWh, such as 0.30EUR")
    return float(found[1]), found[2]


def protocol_of(item: pytest.Item) -> ProtocolSpec:
    """How the rounds of this item are measured. Raises UsageError for what cannot be."""
    return protocol(layers_of(item.config, item), quick=options.quick(item.config))


def project_of(config: pytest.Config) -> project.Project:
    """The project's `lem.yaml`, read once. Raises UsageError, one line with its line, for a file that cannot be."""
    if PROJECT not in config.stash:
        config.stash[PROJECT] = project.read(config.rootpath / options.PROJECT_FILE)
    return config.stash[PROJECT]


def ini_origin(config: pytest.Config, name: str) -> str:
    """Where the ini value `name` is said: the project's ini file, or an override on the command line."""
    if any(word.startswith(f"{name}=") for word in config.getoption("override_ini") or []):
        return f"-o {name}"
    return f"ini {config.inipath.name}: {name}" if config.inipath else f"ini: {name}"


def _check_copies(config: pytest.Config) -> None:
    for name in ("json", "html", "markdown", "comment"):
        copy = options.value(config, name)
        target = Path(config.invocation_params.dir, copy) if copy else None
        if target is not None and target.is_dir():
            raise UsageError(f"--lem-{name}={copy}: that is a folder; name a file")
        if target is not None and not target.parent.is_dir():
            raise UsageError(f"--lem-{name}={copy}: there is no such folder; make it, or name another")
