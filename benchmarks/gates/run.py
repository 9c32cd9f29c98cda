"""How often gates cry wolf or sleep: simulated over a noise model, beside the rules of other tools.

    python benchmarks/gates/run.py --out DIR [--traces 2000] [--seed 0] [--jobs 2] [--quick]

Every trace has a seed of its own, so that the same numbers come of any number of processes. Writes DIR/gates.json after
every cell; `benchmarks/evidence.py` makes the tables. Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gates.cells import cells
from benchmarks.gates.speed import one_gate, statistics
from benchmarks.gates.summary import goals
from benchmarks.gates.traces import Cell, play
from benchmarks.graphwork.results import Results, versions

CHUNK = 100
QUICK = 50


def row(cell: Cell, counts: Counter[str]) -> dict[str, Any]:
    """A cell and its counts, less what is as usual."""
    told = {"kind": cell.kind, "says": cell.says, "runs": cell.runs, "change": cell.change, "traces": cell.traces}
    candidate = asdict(cell.candidate) if cell.candidate else None
    return {**told, "noise": asdict(cell.noise), "candidate": candidate, "counts": dict(sorted(counts.items()))}


def played(todo: Sequence[Cell], seed: int, jobs: int) -> Iterator[tuple[Cell, Counter[str]]]:
    """Each cell with its counts, in order."""
    with ProcessPoolExecutor(jobs) as pool:
        parts = [
            [pool.submit(play, cell, seed, at, min(CHUNK, cell.traces - at)) for at in range(0, cell.traces, CHUNK)]
            for cell in todo
        ]
        for cell, futures in zip(todo, parts, strict=True):
            yield cell, sum((each.result() for each in futures), Counter())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder for gates.json")
    parser.add_argument("--traces", type=int, default=2000, help="traces a cell; twice as many for rare alarms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} traces a cell: to see that it runs")
    asked = parser.parse_args(argv)
    results = Results(asked.out / "gates.json", "How often gates are wrong", seed=asked.seed)
    results.data |= {
        "versions": versions("numpy", "scipy"),
        "gate_s": one_gate(),
        "report_s": statistics(),
        "cells": [],
    }
    todo = list(cells(QUICK if asked.quick else asked.traces))
    for number, (cell, counts) in enumerate(played(todo, asked.seed, asked.jobs), 1):
        results.data["cells"].append(row(cell, counts))
        results.write()
        results.log(f"{number} of {len(todo)}: {cell.kind} {cell.says}".rstrip())
    found = goals(results.data)
    print("\n".join(f"{'met' if goal.met else 'NOT MET':8}{goal.name}: {goal.told}" for goal in found))
    return 0 if all(goal.met for goal in found) else 1


if __name__ == "__main__":
    sys.exit(main())
