"""The flat table for other programs: CSV, JSON, Parquet. Numbers keep every digit, what is absent is empty or null."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from pytest_lem.model.errors import UsageError
from pytest_lem.render.entries import Cell
from pytest_lem.render.table import Column, Table

if TYPE_CHECKING:
    import pyarrow

SCHEMA = "lem.table/1"
# OWASP, "CSV Injection": a spreadsheet runs a cell that begins with one of these, full-width ones included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_csv(table: Table) -> str:
    """RFC 4180 with a header, for spreadsheets too: text that one would take for a formula begins with `'`."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(column.name for column in table.columns)
    writer.writerows([_field(cell) for cell in row] for row in table.rows)
    return file.getvalue()


def _field(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if not isinstance(cell, str):
        return repr(cell)
    # A NUL ends the cell, or the file, in more than one reader.
    plain = cell.replace("\0", "\ufffd")
    return f"'{plain}" if plain.lstrip(" ").startswith(_FORMULA) else plain


def as_json(table: Table) -> str:
    """The columns with unit and meaning, and a row as an object."""
    columns = [{"name": c.name, "kind": c.kind, "unit": c.unit or None, "means": c.definition} for c in table.columns]
    names = [column.name for column in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in table.rows]
    told = {"schema": SCHEMA, "columns": columns, "rows": rows}
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_parquet(table: Table) -> bytes:
    """Parquet; unit and meaning of a column are metadata of its field. Raises UsageError without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError("--format=parquet needs pyarrow: pip install 'pytest-lem[parquet]'") from None
    schema = pyarrow.schema([_parquet_field(column) for column in table.columns], metadata={"lem": SCHEMA})
    cells = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    arrays = [pyarrow.array(column, type=field.type) for column, field in zip(cells, schema, strict=True)]
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), sink)
    return bytes(sink.getvalue())


def _parquet_field(column: Column) -> pyarrow.Field:
    import pyarrow

    kinds = {
        "text": pyarrow.string(),
        "number": pyarrow.float64(),
        "count": pyarrow.int64(),
        "flag": pyarrow.bool_(),
    }
    about = {"means": column.definition} | ({"unit": column.unit} if column.unit else {})
    return pyarrow.field(column.name, kinds[column.kind], metadata=about)
