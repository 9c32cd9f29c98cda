"""Rows out of files: JSONL, CSV, Parquet, plain text. Each row is a dictionary, plain text has a row's `text`."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_lem.model.errors import UsageError

Row = Mapping[str, Any]


def read_rows(path: Path, place: str) -> list[Row]:
    """The rows of a file, by its suffix. Raises UsageError, one line that begins with `place`."""
    if not path.is_file():
        raise UsageError(f"{place}: there is no file {str(path)!r}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{place}: {path.name}: expected a file that ends in {', '.join(_READERS)}")
    try:
        rows = list(reader(path, place))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{place}: {path.name}: cannot be read: {error}") from None
    if not rows:
        raise UsageError(f"{place}: {path.name} is empty; it needs at least one row")
    return rows


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _jsonl(path: Path, place: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UsageError(f"{place}: {path.name}:{number}: no JSON: {error.msg}") from None
            if not isinstance(row, dict):
                raise UsageError(f"{place}: {path.name}:{number}: expected an object, got {line.strip()[:40]}")
            yield row


def _csv(path: Path, place: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            if None in row or None in row.values():
                raise UsageError(f"{place}: {path.name}: a row has more or fewer columns than the header: {row}")
            yield row


def _parquet(path: Path, place: str) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UsageError(f"{place}: {path.name}: Parquet needs pyarrow: pip install pyarrow") from None
    try:
        yield from parquet.read_table(path).to_pylist()
    except ArrowException as error:
        raise UsageError(f"{place}: {path.name}: no Parquet file: {str(error).splitlines()[0]}") from None


def _text(path: Path, _place: str) -> Iterator[Row]:
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            yield {"text": line}


_READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _text,
}
