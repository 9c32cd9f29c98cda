"""Where results and leases are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_lem.campaign.leases import FOLDER_VARIABLE, lock_folder
from pytest_lem.doctor.finding import Finding, Level

_LITTLE, _LEAST = 2 * 2**30, 100 * 2**20
"""Free bytes below which a long campaign, and any run, may fill the disk."""


def places(results: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the results folder and the leases' can be written, and how much room there is."""
    yield from _place("results", results, "--lem-results")
    yield from _place("leases", lock_folder(environ), FOLDER_VARIABLE)


def _place(about: str, folder: Path, option: str) -> Iterator[Finding]:
    here = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not here.is_dir() or not os.access(here, os.W_OK | os.X_OK):
        yield Finding("error", about, f"{folder} cannot be written", f"name another place: {option}=DIR")
        return
    free = shutil.disk_usage(here).free
    level: Level = "error" if free < _LEAST else "warning" if free < _LITTLE else "ok"
    mend = "" if level == "ok" else f"make room, or name another place: {option}=DIR"
    yield Finding(level, about, f"{folder}, {free / 2**30:.1f} GiB free", mend)
