"""What stands below the table: limits that did not hold, and what has no result."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lem.model.verdict import Verdict

SHOWN_MISSING = 10


def closing(verdicts: Sequence[Verdict], missing: Sequence[str]) -> list[str]:
    """One line a verdict that did not pass, then the first ten of `missing`, and how many more there are."""
    lines = not_passed(verdicts)
    if missing:
        lines.append(f"incomplete, {len(missing)} missing:")
        lines += [f"  {text}" for text in missing[:SHOWN_MISSING]]
        more = len(missing) - SHOWN_MISSING
        lines += [f"  … and {more} more (report.json lists them)"] if more > 0 else []
    return lines


def not_passed(verdicts: Sequence[Verdict]) -> list[str]:
    """One line a verdict that did not pass, each with the test that it is about: a run has many of the same metric."""
    return [f"{verdict.test.rpartition('::')[2]}: {verdict.line}" for verdict in verdicts if verdict.status != "passed"]
