"""`lem engines` and `lem meters`: what can be asked for on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_lem.cli.output import AsJson, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.engines.installed import Installed
    from pytest_lem.model.reading import MeterRecord

ENGINES = """\b
Examples:
  lem engines                                  those that this interpreter has
  lem engines --python ~/vllm/bin/python       those that another one has (for --lem-python)
  lem engines --json                           with all their options, for other programs"""

METERS = """\b
Examples:
  lem meters           which can read joules here, and why the others cannot
  lem meters --json    with the devices that each reads"""


def engines(
    python: Annotated[
        str, typer.Option(metavar="PATH", help="the interpreter to ask", show_default="this one")
    ] = sys.executable,
    as_json: AsJson = False,
) -> None:
    """Tell which engines there are, their versions, and how to get the others.

    No engine is imported or started. Exit status: 0, or 2 where the interpreter does not answer.
    """
    with refusing("engines"):
        from pytest_lem.engines.installed import installed
        from pytest_lem.engines.registry import entry, names

        found = installed([entry(name) for name in names()], python, place="--python")
        if as_json:
            say_json({each.name: _told(each) for each in found})
        else:
            _columns([(each.name, each.line) for each in found])


def _told(engine: Installed) -> dict[str, object]:
    return {
        "available": engine.available,
        "versions": engine.versions,
        "precisions": engine.precisions,
        "options": engine.options,
        "needs": engine.needs or None,
    }


def meters(as_json: AsJson = False) -> None:
    """Tell which meters work here, what each reads, and why the others do not.

    Each that works is opened and closed again; nothing is set. Exit status: 0, or 2 where CUDA_VISIBLE_DEVICES names no
    GPU.
    """
    with refusing("meters"):
        import os

        from pytest_lem.meters.nvml import visible_gpus
        from pytest_lem.meters.registry import open_meters

        with open_meters(None, gpus=visible_gpus(os.environ), own_pids=tuple) as found:
            records = found.records
        if as_json:
            say_json(records)
        else:
            _columns([(record.name, _read(record)) for record in records])


def _read(record: MeterRecord) -> str:
    if not record.used:
        return f"not here: {record.reason}"
    return f"{record.source}: " + ", ".join(f"{device.kind} {device.name or device.id}" for device in record.devices)


def _columns(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, line in rows:
        say(f"{name:<{width}}  {line}")
