"""The index of a folder of results: thousands of runs stay fast to list. A cache, the JSON files are the truth.

`<results>/runs/index.sqlite` is never changed in place: who brings it up to date does so in memory, and puts a whole
new file there at once. So nobody waits for a lock, nobody sees half of a change, and of two writers the last one wins;
what it did not know of is read again by the next reader. An index that is missing, old, broken or not to be written
costs time, and is no error.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_lem.store.aggregation import Aggregate

VERSION = 1
"""Of the tables, and of what is in their columns: an index of any other version is made anew."""
FILE = "index.sqlite"
_OURS = 0x4C454D  # "LEM", as the file's application id
REPORT = "report.json"  # as store.report has it, which takes long to import
_LEFT = ".index-*"
_CHANGING = ("run.json", "samples-*.jsonl")
_SCHEMA = """
CREATE TABLE runs (
    folder TEXT PRIMARY KEY, stamp TEXT, moving INTEGER, id TEXT, started TEXT, ended TEXT, host TEXT, gpus TEXT,
    gpu_count INTEGER, cpu TEXT, git_commit TEXT, branch TEXT, changed INTEGER, quick INTEGER, missing INTEGER,
    outcome TEXT, fault TEXT
);
CREATE INDEX by_start ON runs (started);
CREATE TABLE configurations (
    folder TEXT, place INTEGER, test TEXT, name TEXT, engine TEXT, model TEXT, precision TEXT, batch INTEGER, load TEXT,
    gpus INTEGER, verdict TEXT,
    joules_per_token REAL, joules_per_token_low REAL, joules_per_token_high REAL, joules_per_token_source TEXT,
    tokens_per_second REAL, tokens_per_second_low REAL, tokens_per_second_high REAL, tokens_per_second_source TEXT,
    ttft_ms REAL, ttft_ms_low REAL, ttft_ms_high REAL, ttft_ms_source TEXT,
    tpot_ms REAL, tpot_ms_low REAL, tpot_ms_high REAL, tpot_ms_source TEXT,
    PRIMARY KEY (folder, place)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Index:
    """The index, up to date, with `read` runs that it did not know and `gone` ones; `saved` if it is at its `place`."""

    place: Path
    connection: sqlite3.Connection
    read: int
    gone: int
    saved: bool


@contextmanager
def open_index(results: Path, aggregate: Aggregate, *, anew: bool = False) -> Iterator[Index]:
    """The index of `results`, brought up to date; `anew` forgets what it knew.

    `aggregate` computes metrics of runs that were killed before they did.
    """
    runs = results / "runs"
    if anew:
        _remove(runs.glob(_LEFT))  # of writers that were killed
    known = None if anew else _on_disk(runs / FILE)
    found = _up_to_date(known, runs, aggregate)
    if known and known is not found.connection:
        known.close()
    with closing(found.connection):
        yield found


def _up_to_date(known: sqlite3.Connection | None, runs: Path, aggregate: Aggregate) -> Index:
    stamps = _stamps(known) if known else {}
    seen = dict(_seen(runs, {folder: moving for folder, (_, moving) in stamps.items()}))
    changed = [folder for folder, stamp in seen.items() if folder not in stamps or stamps[folder][0] != stamp]
    gone = [folder for folder in stamps if folder not in seen]
    if known and not changed and not gone:
        return Index(runs / FILE, known, 0, 0, saved=True)
    memory = _in_memory(known)
    for folder in [*changed, *gone]:
        _forget(memory, folder)
    read = sum(_take(memory, runs / folder, seen[folder], aggregate) for folder in changed)
    memory.commit()
    return Index(runs / FILE, memory, read, len(gone), saved=_save(memory, runs))


def _on_disk(path: Path) -> sqlite3.Connection | None:
    """The index as it stands, for reading only; None where there is none that is whole and of this version."""
    if not path.is_file():
        return None
    # Never changed in place, so that no lock is needed, and one that another program holds is no hindrance.
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        whole = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        told = [connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
    except sqlite3.DatabaseError:
        whole, told = False, []
    if whole and told == [(_OURS,), (VERSION,)]:
        connection.row_factory = sqlite3.Row
        return connection
    connection.close()
    return None


def _stamps(connection: sqlite3.Connection) -> dict[str, tuple[str, bool]]:
    rows = connection.execute("SELECT folder, stamp, moving FROM runs")
    return {folder: (stamp, bool(moving)) for folder, stamp, moving in rows}


def _seen(runs: Path, moving: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """Every folder of a run with its stamp, which is another one when the run has changed."""
    try:
        entries = os.scandir(runs)
    except OSError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                with suppress(OSError):  # deleted while we look
                    yield entry.name, _stamp(entry, moving=moving.get(entry.name, False))


def _stamp(entry: os.DirEntry[str], *, moving: bool) -> str:
    """Times, sizes and inodes: of the folder and the report; of a run without a report of all that it appends to.

    Whatever is put in place whole changes its folder's time. Taken before the files are read: what changes meanwhile is
    read again the next time.
    """
    parts = [f"{entry.stat().st_mtime_ns}"]
    try:
        parts.append(_file_stamp(f"{entry.path}/{REPORT}"))
    except OSError:
        moving = True
    if moving:
        files = sorted(file for pattern in _CHANGING for file in Path(entry.path).glob(pattern))
        parts += [_file_stamp(str(file)) for file in files]
    return " ".join(parts)


def _file_stamp(path: str) -> str:
    found = os.stat(path)
    return f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"


def _in_memory(known: sqlite3.Connection | None) -> sqlite3.Connection:
    """A copy of what is known, to be changed."""
    memory = sqlite3.connect(":memory:")
    memory.row_factory = sqlite3.Row
    if known is None:
        memory.executescript(f"{_SCHEMA} PRAGMA application_id = {_OURS}; PRAGMA user_version = {VERSION};")
    else:
        known.backup(memory)
    return memory


def _forget(connection: sqlite3.Connection, folder: str) -> None:
    for table in ("runs", "configurations"):
        connection.execute(f"DELETE FROM {table} WHERE folder = ?", (folder,))


def _take(connection: sqlite3.Connection, folder: Path, stamp: str, aggregate: Aggregate) -> bool:
    """Read a run into the index; false where the folder holds none."""
    from pytest_lem.store.indexed import indexed

    found = indexed(folder, aggregate)
    if found is None:
        return False
    keys = {"folder": folder.name, "stamp": stamp, "moving": found.moving}
    _insert(connection, "runs", {"id": folder.name, **keys, **found.run})
    for row in found.configurations:
        _insert(connection, "configurations", {"folder": folder.name, **row})
    return True


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    names = ", ".join(row)
    places = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", row)


def _save(memory: sqlite3.Connection, runs: Path) -> bool:
    """Put the index on disk; false where that cannot be, which costs the next reader time."""
    draft = runs / f"{_LEFT.rstrip('*')}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        # Nothing is lost with a draft: no journal, and no waiting for the disk.
        with closing(sqlite3.connect(draft)) as target:
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            memory.backup(target)
        draft.replace(runs / FILE)
    except (sqlite3.Error, OSError):
        return False
    finally:
        _remove([draft])
    return True


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)
