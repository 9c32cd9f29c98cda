"""What measurements are called where they stand beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pytest_lem.model.measurement import Measurement


def names_of(measurements: Sequence[Measurement]) -> list[str]:
    """What tells the measurements apart: the test without its file, where that is enough, and the name within it."""
    short = [_named(each.test.rpartition("::")[2] or each.test, each.name) for each in measurements]
    files = {(name, each.test) for name, each in zip(short, measurements, strict=True)}
    seen = Counter(name for name, _ in files)
    return [
        name if seen[name] == 1 else _named(each.test, each.name)
        for name, each in zip(short, measurements, strict=True)
    ]


def _named(test: str, name: str) -> str:
    return f"{test} · {name}" if name else test
