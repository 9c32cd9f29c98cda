"""The project's own file, `lem.yaml`: the marker's keywords for every test."""

from __future__ import annotations

from pathlib import Path

from pytest_lem.campaign import document

Project = document.Document


def read(path: Path) -> Project:
    """The project's file, or nothing where there is none. Raises UsageError as `document.read` does."""
    return document.read(path, path.name) if path.is_file() else Project()
