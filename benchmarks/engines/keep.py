"""Keep a run's report as evidence.

    python benchmarks/engines/keep.py REPORT.json NAME --title TITLE --command COMMAND

Writes docs/evidence/NAME.json: the report, with the command that made it, token times cut to 4 digits,
without the host's name and folders. `--only WORD` keeps the measurements, phases and searches of tests that hold it.
`--no-gaps` leaves the token gaps of single requests out, which are megabytes where hundreds of requests run together;
their means and percentiles stand in the metrics.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"


def shortened(value: Any, inside: bool = False) -> Any:
    """`value` with token times rounded to 4 significant digits; everything else as it is."""
    if isinstance(value, dict):
        return {key: shortened(entry, inside or key == "latency") for key, entry in value.items()}
    if isinstance(value, list):
        return [shortened(entry, inside) for entry in value]
    return float(f"{value:.4g}") if inside and isinstance(value, float) else value


def unplaced(report: dict[str, Any]) -> dict[str, Any]:
    """The report without what only says where it was made: the host's name and folders."""
    report["environment"]["host"] = ""
    for told in ("command", "settings"):
        options = report["run"]["options"].get(told, {})
        options.pop("lem_results", None)
        if "lem_python" in options:
            options["lem_python"] = [re.sub(r"=[^,]*/", "=", each) for each in options["lem_python"]]
    for measurement in report["measurements"]:
        engine = measurement["engine"]
        for part, name in ((engine["observed"], "executable"), (engine["requested"], "python")):
            part[name] = Path(part.get(name) or "").name or None
    return report


def without_gaps(report: dict[str, Any]) -> dict[str, Any]:
    """The report without token gaps."""
    for measurement in report["measurements"]:
        rounds = (round_ for cycle in measurement["cycles"] for round_ in cycle["rounds"])
        for times in (times for round_ in rounds for times in (round_["latency"] or {}).get("requests", ())):
            times.pop("gaps_ms")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("name")
    parser.add_argument("--title", required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--no-gaps", action="store_true")
    asked = parser.parse_args()
    report = json.loads(asked.report.read_text())
    for part in ("measurements", "phases", "searches"):
        report[part] = [each for each in report.get(part, ()) if asked.only in each.get("id", each.get("test", ""))]
    if asked.no_gaps:
        report = without_gaps(report)
    data = {
        "schema": "lem.evidence/1",
        "title": asked.title,
        "command": asked.command,
        "date": report["run"]["started"][:10],
        "report": shortened(unplaced(report)),
    }
    target = EVIDENCE / f"{asked.name}.json"
    target.write_text(json.dumps(data, separators=(",", ":")) + "\n")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
