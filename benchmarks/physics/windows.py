"""The GPU meter against known truth: windows on simulated GPUs, case by case.

    python benchmarks/physics/windows.py --windows 1000 --seed 0 --out DIR [--case NAME] [--jobs N]

Each case draws GPUs and a piece of work (tests/physics_cases.py) and plays it at the eight phases in turn, in virtual
time; the meter never learns the truth that it is compared with. Writes DIR/physics.json after every case;
`benchmarks/evidence.py` makes the table. Ends with 1 where the meter is worse than the goals and its sensors allow.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from physics_cases import CASES
from physics_rounds import ROUNDS, Window, columns, play_cycle

from benchmarks.figures import percent
from benchmarks.graphwork.results import Results
from benchmarks.physics.summary import row

LENGTHS_S = (1.0, 3.0)


def cycle(name: str, seconds: float, seed: int) -> tuple[Window, ...]:
    """One cycle of a case, by names that another process understands."""
    return play_cycle(CASES[name], seed, seconds)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--windows", type=int, default=1000, help="windows a case and length (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the folder for physics.json")
    parser.add_argument("--case", choices=CASES, action="append", help="just these cases")
    parser.add_argument("--jobs", type=int, default=1, help="processes to share the cycles among")
    asked = parser.parse_args(argv)
    results = Results(asked.out / "physics.json", "The meter against simulated GPUs", seed=asked.seed, cases=[])
    cycles = -(-asked.windows // ROUNDS)
    seeds = range(asked.seed * 1_000_000, asked.seed * 1_000_000 + cycles)
    failures: list[str] = []
    with ProcessPoolExecutor(asked.jobs) as pool:
        for name in asked.case or CASES:
            for seconds in LENGTHS_S:
                played = list(pool.map(partial(cycle, name, seconds), seeds, chunksize=4))
                results.data["cases"].append(columns(CASES[name], seconds, played))
                results.write()
                found = row(results.data["cases"][-1])
                failures += found.failures
                results.log(
                    f"{name}, {seconds:g} s: {found.windows} windows, worst {percent(found.worst)}, "
                    f"mean of eight {percent(found.mean_worst)}, covered {percent(found.covered, 1)} "
                    f"and {percent(found.mean_covered, 1)}, fixed {found.fixed_s:.3f} s"
                )
    print("\n".join(failures) or "as near to every goal as the sensors allow")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
