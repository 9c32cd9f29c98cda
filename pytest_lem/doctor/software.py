"""Python, pytest, the engines, and what can read joules."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from pytest_lem.doctor.finding import Finding, Level, told
from pytest_lem.engines.installed import installed
from pytest_lem.engines.registry import entry, names
from pytest_lem.meters.nvml import visible_gpus
from pytest_lem.meters.registry import open_meters
from pytest_lem.model.errors import MeterError, UsageError
from pytest_lem.model.reading import MeterRecord


def packages() -> Iterator[Finding]:
    """Python, pytest-lem, pytest, and xdist for one worker per GPU."""
    versions = f"Python {sys.version.split()[0]}, pytest-lem {version('pytest-lem')}, pytest {version('pytest')}"
    yield Finding("ok", "packages", versions)
    try:
        yield Finding("ok", "packages", f"pytest-xdist {version('pytest-xdist')}")
    except PackageNotFoundError:
        yield Finding(
            "note", "packages", "pytest-xdist is not installed", "pip install 'pytest-lem[xdist]' for a worker per GPU"
        )


def engines(python: str) -> Iterator[Finding]:
    """Each engine that the interpreter `python` has; an error where there is none, or where it does not answer."""
    found = installed([entry(name) for name in names()], python, place="--python")
    some = any(each.available for each in found)
    for each in found:
        level: Level = "ok" if each.available else "note" if some else "error"
        fault, _, mend = each.line.partition(": ")
        yield Finding(level, f"engine {each.name}", fault, mend)


def joules(environ: Mapping[str, str]) -> Iterator[Finding]:
    """What can read joules here: measured, only estimated, or nothing at all."""
    try:
        with open_meters(None, gpus=visible_gpus(environ), own_pids=tuple) as found:
            records = found.records
    except (MeterError, UsageError) as error:
        yield told("error", "joules", str(error))
        return
    # What keeps NVML from working stands among the GPUs.
    yield from (_meter(record) for record in records if record.used or record.name != "nvml")
    used = [record for record in records if record.used]
    if not used:
        yield Finding("error", "joules", "nothing reads joules here", "pip install 'pytest-lem[carbon]' to estimate")
    elif all(record.source == "estimated" for record in used):
        yield Finding(
            "warning", "joules", "they are only estimated here: no gate judges them", "gate tokens_per_second instead"
        )


def _meter(record: MeterRecord) -> Finding:
    about = f"meter {record.name}"
    if not record.used:
        return told("note", about, record.reason or "it does not say why it cannot work")
    read = ", ".join(device.name or device.id for device in record.devices)
    return Finding("ok", about, f"{record.source}: {read}")
