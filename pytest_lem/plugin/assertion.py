"""A failed `assert` on one of our numbers explains itself."""

from __future__ import annotations


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """`assert 0.61 J/tok < 0.5 J/tok`, then the interval and what it rests on."""
    explained = [side for side in (left, right) if hasattr(side, "explain") and isinstance(side, float)]
    if not explained:
        return None
    unit = getattr(explained[0], "unit", "")
    shown = [repr(side) if side in explained else f"{side!r} {unit}" for side in (left, right)]
    return [f"{shown[0]} {op} {shown[1]}", *(side.explain() for side in explained)]  # type: ignore[attr-defined]  # hasattr above
