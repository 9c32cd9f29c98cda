"""How data travels in the page: each text once, numbers as long as they are known, all of it compressed."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from typing import Any

from pytest_lem.model.measurement import MetricValue

DIGITS = 6
"""More than any meter knows."""


class Texts:
    """Texts that many places share, each kept once; -1 stands for none."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str | None) -> int:
        """The place of `text` among all texts."""
        return -1 if not text else self._places.setdefault(text, len(self._places))

    def places(self, texts: Iterable[str]) -> list[int]:
        """The places of several texts, each once."""
        return [self.place(text) for text in dict.fromkeys(texts)]

    def all(self) -> list[str]:
        """The texts, by their places."""
        return list(self._places)


def short(value: float | None, digits: int = DIGITS) -> float | int | None:
    """`value` with so many significant digits; whole numbers without their point."""
    if value is None:
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def packed_value(value: MetricValue, texts: Texts) -> list[Any]:
    """`[value, low, high, n, estimated, covers, reason, shared]`; empty ends are left out."""
    found = [
        short(value.value),
        short(value.low),
        short(value.high),
        value.n,
        int(value.source == "estimated"),
        texts.place(value.covers),
        texts.place(value.reason),
        int(value.shared),
    ]
    empty = [None, None, None, 0, 0, -1, -1, 0]
    while len(found) > 1 and found[-1] == empty[len(found) - 1]:
        found.pop()
    return found


def compressed(data: Any) -> str:
    """`data` as JSON, gzipped, in base64: letters that need no escaping anywhere in HTML."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode("ascii")


def unpacked(text: str) -> Any:
    """What `compressed` was given."""
    return json.loads(gzip.decompress(base64.b64decode(text)))
