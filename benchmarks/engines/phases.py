"""Prefill and decode apart, as evidence: both methods in one table, a row a workload.

The report is one of `pytest benchmarks/test_phases.py`, kept by `benchmarks/engines/keep.py`.
"""

from __future__ import annotations

from typing import Any

from benchmarks.engines.asked import by_uuid
from benchmarks.figures import table

Json = dict[str, Any]
HEAD = [
    "workload",
    "method",
    "prefill mJ/prompt token (95 % interval)",
    "decode mJ/token (95 % interval)",
    "base W (95 % interval)",
    "shares of prefill / decode / base",
    "off by",
    "rounds",
    "source",
]
PARTS = ("prefill", "decode", "base")


def render(data: Json) -> str:
    """`data`: {command, date, title, report}, the report as `report.json` has it."""
    report = data["report"]
    gpus = by_uuid(report["environment"]["gpus"])
    versions = report["measurements"][0]["engine"]["observed"]["versions"]
    lines = [
        f"- {gpus}; {', '.join(f'{name} {version}' for name, version in versions.items() if version)}.",
        "- windows: all that is drawn is a phase's, off by is what their sum misses of the whole; regression: what a "
        "token adds to a base, off by is what a fit to half of the windows misses of the others.",
        *(each for split in report["phases"] for each in (*_absent(split), *_notes(split))),
    ]
    return "\n".join([*lines, "", table(HEAD, [_row(split) for split in report["phases"]])])


def _row(split: Json) -> list[str]:
    error = split["sum_error"]
    return [
        _name(split),
        split["method"],
        _with_interval(split["prefill"], "joules_per_token", 1e3),
        _with_interval(split["decode"], "joules_per_token", 1e3),
        _with_interval(split["base"], "watts", 1) if split["base"] else "in the phases",
        " / ".join(_share(split, part) for part in PARTS),
        "–" if error is None else f"{100 * error:+.1f} %",
        str(split["rounds"]) + (f" ({split['windows']} windows)" if split["windows"] else ""),
        split["source"] or "–",
    ]


def _name(split: Json) -> str:
    return str(split["test"]).rpartition("[")[2].rstrip("]")


def _with_interval(part: Json, key: str, factor: float) -> str:
    """A value and its interval, `2.001 (1.9 … 2.1)`."""
    if part[key] is None:
        return "–"
    return f"{part[key] * factor:.4g} ({part['low'] * factor:.4g} … {part['high'] * factor:.4g})"


def _share(split: Json, name: str) -> str:
    """Of what was measured to be drawn in all."""
    part, whole = split[name], split["whole_joules"]
    return "–" if not part or part["joules"] is None or not whole else f"{100 * part['joules'] / whole:.0f} %"


def _notes(split: Json) -> list[str]:
    return [f"- {_name(split)}: {note}." for note in split.get("notes", ())]


def _absent(split: Json) -> list[str]:
    parts = ((part, split[part]) for part in PARTS if split[part])
    return [f"- {_name(split)}, {part}: {told['reason']}." for part, told in parts if told["reason"]]
