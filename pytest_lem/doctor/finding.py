"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]
"""`note`: as it may be. `warning`: measuring works, but worse than it could. `error`: nothing can be measured."""


@dataclass(frozen=True)
class Finding:
    """What was seen `about` a part of the machine, in a `line`, and the `mend` ("" where there is none to tell)."""

    level: Level
    about: str
    line: str
    mend: str = ""


def told(level: Level, about: str, fault: str) -> Finding:
    """A finding of an error's line, `fault; mend`."""
    line, _, mend = fault.partition("; ")
    return Finding(level, about, line, mend)
