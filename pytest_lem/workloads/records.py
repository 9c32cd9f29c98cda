"""Rows out of files: JSONL, CSV, Parquet, plain text. Each row knows its place; plain text has a row's `text`."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from pytest_lem.model.errors import UsageError

Cells = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A row's `cells` by column, and where it stands: `chat.jsonl:3`."""

    where: str
    cells: Cells


class Broken(Exception):
    """What is wrong at a place of a file: it becomes a UsageError, led by what asked for the file."""


def read_rows(path: Path, place: str) -> list[Row]:
    """The rows of a file, by its suffix. Raises UsageError, one line that begins with `place` and names file:line."""
    if not path.is_file():
        raise UsageError(f"{place}: there is no file {str(path)!r}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{place}: {path.name}: expected a file that ends in {', '.join(_READERS)}")
    try:
        rows = list(reader(path))
    except Broken as error:
        raise UsageError(f"{place}: {error}") from None
    except OSError as error:
        raise UsageError(f"{place}: {path.name}: cannot be read: {error.strerror or error}") from None
    if not rows:
        raise UsageError(f"{place}: {path.name} is empty; it needs at least one row")
    return rows


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _lines(path: Path) -> StringIO:
    """A file's text, its line ends as they are."""
    written = path.read_bytes()
    try:
        return StringIO(written.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        line = written.count(b"\n", 0, error.start) + 1
        raise Broken(f"{path.name}:{line}: no UTF-8 (byte 0x{written[error.start]:02x})") from None


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            where = f"{path.name}:{number}"
            yield Row(where, _object(line, where))


def _object(line: str, where: str) -> Cells:
    def once(pairs: list[tuple[str, Any]]) -> Cells:
        _one_each([name for name, _ in pairs], where)
        return dict(pairs)

    try:
        found = json.loads(line, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:  # of numbers and brackets without end too
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise Broken(f"{where}: no JSON: {said}") from None
    if not isinstance(found, dict):
        raise Broken(f"{where}: expected an object, got {line.strip():.40}")
    return found


def _csv(path: Path) -> Iterator[Row]:
    lines = csv.reader(_lines(path), strict=True)
    header: list[str] | None = None
    for where, cells in _records(lines, path.name):
        if header is None:
            header = cells
            _one_each(header, where)
        elif len(cells) != len(header):
            raise Broken(f"{where}: expected {len(header)} columns as in the header, got {len(cells)}")
        else:
            yield Row(where, dict(zip(header, cells, strict=True)))


def _records(lines: Any, name: str) -> Iterator[tuple[str, list[str]]]:
    """Each record with the line that it begins at; empty lines are none. Prompts may be longer than csv's limit."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        while True:
            where = f"{name}:{lines.line_num + 1}"
            cells = next(lines, None)
            if cells is None:
                return
            if cells:
                yield where, cells
    except csv.Error as error:
        raise Broken(f"{where}: no CSV: {error}") from None
    finally:
        csv.field_size_limit(before)


def _one_each(names: Sequence[str], where: str) -> None:
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise Broken(f"{where}: there are two columns {twice!r}; rename one")


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise Broken(f"{path.name}: Parquet needs pyarrow: pip install pyarrow") from None
    try:
        table = parquet.read_table(path)
    except ArrowException as error:
        raise Broken(f"{path.name}: no Parquet file: {str(error).splitlines()[0]}") from None
    _one_each(table.column_names, path.name)
    for number, cells in enumerate(table.to_pylist(), 1):
        yield Row(f"{path.name}, row {number}", cells)


def _text(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield Row(f"{path.name}:{number}", {"text": line.rstrip("\r\n")})


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _text,
}
