"""New files, all of them or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pytest_lem.model.errors import StoreError


def write_new(files: Mapping[Path, str]) -> tuple[list[Path], list[Path]]:
    """Write what is not there yet; which files were written, and which were kept as they are.

    Raises StoreError where one cannot be written; those before it, and their new folders, are taken away again.
    """
    kept = [path for path in files if os.path.lexists(path)]
    written: list[Path] = []
    made: list[Path] = []
    for path, text in files.items():
        if path in kept:
            continue
        try:
            _make(path.parent, made)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
        except OSError as error:
            _take_back(written, made)
            raise StoreError(f"{path} cannot be written ({error.strerror}), so nothing was; mend that first") from None
    return written, kept


def _make(folder: Path, made: list[Path]) -> None:
    """Make the folder and those above it, and remember which of them are new."""
    for each in reversed((folder, *folder.parents)):
        if not os.path.lexists(each):
            each.mkdir()
            made.append(each)


def _take_back(written: list[Path], made: list[Path]) -> None:
    for path in written:
        with suppress(OSError):
            path.unlink()
    for folder in reversed(made):
        with suppress(OSError):  # somebody else's file is in it by now
            folder.rmdir()
