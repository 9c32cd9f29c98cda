"""The table of FLOPs by every method, and the goals that it is held to."""

from __future__ import annotations

from typing import Any

from benchmarks.figures import table

Json = dict[str, Any]
METHODS = ("counted", "calflops", "parameters")
SIZES = ("parameters", "prefill FLOP/tok", "decode FLOP/tok", "FLOP/request")
COUNTED, CALFLOPS = 0.01, 0.02


def whole(row: Json, method: str) -> float:
    """FLOPs of the request."""
    return float(row["prefill"][method] + row["decode"][method])


def off(row: Json, method: str) -> float:
    """How far a method's number is from the formula's, relative to it."""
    return whole(row, method) / whole(row, "analytic") - 1


def goals(data: Json) -> list[tuple[str, bool]]:
    """Each goal, and whether it is met."""
    rows = data["rows"]
    if not rows:
        return []
    worst = max(abs(whole(row, "analytic") / whole(row, "counted") - 1) for row in rows)
    used = [abs(off(row, "calflops")) for row in rows if row["answers"] == "calflops"]
    left = [abs(off(row, "calflops")) for row in rows if row["answers"] != "calflops"]
    return [
        (f"the formula within {COUNTED:.0%} of what is counted: at most {worst:.1e}", worst <= COUNTED),
        (
            f"calflops used within {CALFLOPS:.0%} only: {len(used)} of {len(rows)} shapes, "
            f"at most {max(used, default=0):.2%} off; left at {min(left, default=0):.1%} or more",
            all(each <= CALFLOPS for each in used) and all(each > CALFLOPS for each in left),
        ),
    ]


def render(data: Json) -> str:
    """The page's generated part."""
    packages = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return "\n".join(
        [
            f"One request of {data['prompt']} + {data['output']} tokens; {packages}.",
            "",
            table(
                ["shape", *SIZES, *METHODS, "eager prefill", "asked for calflops"],
                [_row(row, data) for row in data["rows"]],
            ),
            "",
            "The four columns after FLOP/request say how far that method is from the formula.",
            "",
            *(f"- {'Met' if met else '**Not met**'}: {told}." for told, met in goals(data)),
            *(f"- {row['shape']}: {note}." for row in data["rows"] for note in row["notes"]),
            *(f"- error: {error}" for error in data["errors"]),
        ]
    )


def _row(row: Json, data: Json) -> list[str]:
    prefill, decode = row["prefill"]["analytic"], row["decode"]["analytic"]
    eager = row["eager_prefill"] / prefill - 1
    return [
        row["shape"],
        f"{row['parameters']:,}",
        f"{prefill / data['prompt']:.4g}",
        f"{decode / (data['output'] - 1):.4g}",
        f"{prefill + decode:.4g}",
        *(_percent(off(row, method)) for method in METHODS),
        _percent(eager),
        row["answers"],
    ]


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{100 * share:+.2f} %"
