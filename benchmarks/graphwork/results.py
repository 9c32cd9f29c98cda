"""A result file that is whole at any instant: rewritten atomically as values come."""

from __future__ import annotations

import json
import platform
import re
import shlex
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def command_line() -> str:
    """The command that runs now, as one would type it from the project's root, less the folder it writes to."""
    script = Path(sys.argv[0]).resolve()
    root = Path(__file__).resolve().parents[2]
    words = ["python", str(script.relative_to(root)), *sys.argv[1:]]
    return re.sub(r"--out[ =]\S+", "--out DIR", shlex.join(words))


def laid_out(data: dict[str, Any]) -> str:
    """JSON text with a line for each key and for each row of a list, so that a diff shows rows."""
    parts = []
    for key, value in data.items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def versions(*packages: str) -> dict[str, str | None]:
    """Installed versions, None for what is not there."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


class Results:
    """The content of `path`: `data` is a dict that the caller fills, `errors` what went wrong on the way."""

    def __init__(self, path: Path, title: str, **facts: Any) -> None:
        self.path = path
        self.began = time.monotonic()
        self.errors: list[str] = []
        self.data: dict[str, Any] = {
            "schema": "lem.evidence/1",
            "title": title,
            "command": command_line(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "errors": self.errors,
            **facts,
        }

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def log(self, text: str) -> None:
        """Say how far it is, at once."""
        print(f"[{self.elapsed:6.1f} s] {text}", flush=True)

    def fail(self, where: str, error: BaseException) -> None:
        """Keep an error's text in the results, and go on."""
        self.errors.append(f"{where}: {type(error).__name__}: {error}")
        self.log(self.errors[-1])
        self.write()

    def write(self) -> None:
        """Write what there is so far."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(laid_out(self.data))
        part.replace(self.path)
