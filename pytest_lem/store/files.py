"""Bytes on disk: whole files atomically, lines one by one, names that any file system takes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pytest_lem.model.errors import StoreError
from pytest_lem.store.finite import finite

Model = TypeVar("Model", bound=BaseModel)
_SLUG_LENGTH = 60


def to_json(model: BaseModel, *, indent: int | None = None) -> str:
    """`model` as JSON that any parser takes: no NaN, no infinity. Raises StoreError where that cannot be."""
    data = finite(model).model_dump(mode="json", by_alias=True)
    return json.dumps(data, indent=indent, allow_nan=False)


def from_json(kind: type[Model], path: Path) -> Model:
    """The file at `path` as `kind`. Raises StoreError that names the path and what is wrong with it."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise StoreError(f"{path}: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """The first fault of a validation in one line: where, and what."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]


def write_atomic(path: Path, text: str | bytes) -> None:
    """Put `text` (bytes as they are) at `path`: a reader sees the old file or the new one, also after a power cut.

    Raises StoreError that names the path; the old file then still stands and no temporary one is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):  # a name that is too long can be no file to take away either
            temporary.unlink()
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def append_line(path: Path, line: str) -> None:
    """Append `line` and wait until it is on the disk. Raises StoreError that names the path.

    A line that a crash or a full disk cut short stays as it is: the next one begins on a line of its own.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _write_all(fd, f"{_line_break(fd)}{line}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; the lines before stay readable") from error


def slug(text: str) -> str:
    """At most 60 characters of letters, digits, `_`, `.` and `-`: the end of `text`, where ids differ."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.")[-_SLUG_LENGTH:].lstrip("_.")


def unique_slug(text: str) -> str:
    """A slug and a hash, so that different texts get different names on any file system."""
    return f"{slug(text)}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:10]}"


def _line_break(fd: int) -> str:
    size = os.fstat(fd).st_size
    return "\n" if size and os.pread(fd, 1, size - 1) != b"\n" else ""


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
