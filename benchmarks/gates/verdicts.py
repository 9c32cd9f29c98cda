"""What gates said on a board: runs saved to a baseline, the same code judged again, a change, a duel. Evidence.

    pytest benchmarks/test_launches.py --lem-save=main                                                # three times
    pytest benchmarks/test_launches.py --lem-baseline=main                                            # the same code
    echo 'pytorch: {attention_implementation: eager}' > lem.yaml; pytest … --lem-baseline=main        # a change
    pytest benchmarks/test_launches.py --lem-duel=spec:pytorch.attention_implementation=eager         # a duel
    python benchmarks/gates/verdicts.py RESULTS NAME

Writes docs/evidence/NAME.json: the baseline's files, each judged run's launches and verdict, the duel's pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engines.asked import by_uuid
from benchmarks.figures import table
from pytest_lem.launches import launches
from pytest_lem.store.report import Report, read_report

Json = dict[str, Any]
EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"
PAIR = ("order", "launches", "a", "b", "reason")


def render(data: Json) -> str:
    """The evidence page's generated part."""
    gpus = by_uuid(data["gpus"])
    rows = [
        [
            judged["run"],
            verdict["comparison"]["outcome"],
            f"{100 * verdict['comparison']['estimate']:+.1f} %",
            f"{100 * verdict['comparison']['low']:+.1f}..{100 * verdict['comparison']['high']:+.1f} %",
            f"{100 * verdict['comparison']['detectable']:.1f} %",
            str(verdict["comparison"]["launches"]),
            str(verdict["comparison"]["rounds"]),
        ]
        for judged in data["judged"]
        for verdict in judged["verdicts"]
    ]
    lines = [f"- {gpus}. Baseline: {len(data['baseline'])} runs.", "- The lines that were printed:", ""]
    lines += [f"      {verdict['line']}" for judged in data["judged"] for verdict in judged["verdicts"]]
    head = ["run", "verdict", "change of J/token", "range", "could see", "launches", "rounds or pairs"]
    return "\n".join([*lines, "", table(head, rows)])


def judged(report: Report, duels: Path) -> Json:
    """A run with its verdicts, and the values that they rest on."""
    return {
        "run": report.run.id,
        "verdicts": [verdict.model_dump(mode="json") for verdict in report.verdicts],
        "launches": [
            [float(f"{value:.6g}") for value in launch.values]
            for launch in launches(report.measurements[0], "joules_per_token")
        ],
        "pairs": [
            {name: pair[name] for name in PAIR}
            for path in sorted(duels.glob("*.json"))
            for pair in json.loads(path.read_text())["pairs"]
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("name")
    asked = parser.parse_args()
    reports = [read_report(path) for path in sorted((asked.results / "runs").glob("*/report.json"))]
    data = {
        "schema": "lem.evidence/1",
        "title": "What gates said to the same code, to a change, and in a duel",
        "command": "python benchmarks/gates/verdicts.py RESULTS",
        "date": f"{reports[0].run.started:%Y-%m-%d}",
        "gpus": [gpu.model_dump(mode="json") for gpu in reports[0].environment.gpus],
        "baseline": [json.loads(path.read_text()) for path in sorted((asked.results / "baselines").glob("*/*.json"))],
        "judged": [
            judged(report, asked.results / "runs" / report.run.id / "duels") for report in reports if report.verdicts
        ],
    }
    target = EVIDENCE / f"{asked.name}.json"
    target.write_text(json.dumps(data, separators=(",", ":")) + "\n")
    print(f"wrote {target.name}")


if __name__ == "__main__":
    main()
