"""How well a window's joules are known: one fixed piece of GPU work, measured by several methods in the same run.

    python benchmarks/accuracy/run.py --out DIR [--seconds 1,3] [--repeats 24] [--seed 0]

The work is a CUDA graph of matrix products, replayed a fixed number of times in a process of its own. Windows of each
length come in drawn order, in blocks of eight (the meter's eight phases); a reference window of 30 s stands before,
between and after the blocks. The chip is soaked in the work first; rest and work before each window keep its share of
busy time constant, so that all begin on a chip as warm, and power is read inside the reference windows to tell how it
rises in them (`warmth.py`). Around one window stand the meter and, inside it, the quick methods: they see the same
joules. CodeCarbon, which
takes long to begin, gets windows of its own. Writes DIR/accuracy.json as values come; `benchmarks/evidence.py` makes
the table.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.accuracy.methods import ALONE, BESIDE, Method
from benchmarks.accuracy.warmth import DUTY, PREHEAT_S, History, power_trace
from benchmarks.graphwork.board import Board
from benchmarks.graphwork.metering import gpu_meter
from benchmarks.graphwork.results import Results, versions
from benchmarks.graphwork.work import SIZES, GraphWork, Stamps, choose_size

PHASES = 8
REFERENCE_S = 30.0
SOAK_S = 60.0
TRACE_END_S = 0.5
LEAD_NS = 10_000_000
TICK_NS = 100_000_000
GIVE_UP_AFTER = 3


@dataclass
class Bench:
    """What every window needs, and what has gone wrong so far."""

    board: Board
    work: GraphWork
    meter: Any
    results: Results
    draw: random.Random
    history: History
    beside: list[Method] = field(default_factory=list)
    alone: list[Method] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    def trouble(self, method: str, error: Exception) -> None:
        """Note an error of one method; drop the method when it keeps failing."""
        self.results.fail(method, error)
        self.failures[method] = self.failures.get(method, 0) + 1
        if self.failures[method] >= GIVE_UP_AFTER:
            self.beside = [each for each in self.beside if each.name != method]
            self.alone = [each for each in self.alone if each.name != method]
            if method == "meter":
                self.meter = None


def sleep_until(instant: int) -> None:
    left = instant - time.monotonic_ns()
    if left > 0:
        time.sleep(left / 1e9)


def named_start(bench: Bench, phase: int, row: dict[str, Any]) -> int:
    """Where the work starts: where the meter says, whole ticks later if there is no time left for the others."""
    try:
        start: int = bench.meter.begin(phase) if bench.meter is not None else time.monotonic_ns()
        row["meter_began"] = bench.meter is not None
    except Exception as error:  # noqa: BLE001 - told in the results; the other methods go on
        bench.trouble("meter", error)
        start = time.monotonic_ns() + round(bench.draw.random() * TICK_NS)
    while start < time.monotonic_ns() + 2 * LEAD_NS:
        start += TICK_NS
    return start


def begin_all(bench: Bench, methods: Sequence[Method], start: int) -> list[Method]:
    """Begin each method in the last 10 ms before the work; give those that did."""
    sleep_until(start - LEAD_NS)
    begun = []
    for method in methods:
        try:
            method.begin()
            begun.append(method)
        except Exception as error:  # noqa: BLE001 - told in the results; the other methods go on
            bench.trouble(method.name, error)
    return begun


def trace_power(bench: Bench, start: int, row: dict[str, Any]) -> None:
    """Read the board's power through a window, where it tells it."""
    try:
        row["power_w"] = power_trace(bench.board.instant_w, start, row["asked_s"] - TRACE_END_S)
    except Exception as error:  # noqa: BLE001 - told in the results; the other methods go on
        bench.results.fail("power trace", error)


def end_all(bench: Bench, begun: Sequence[Method], stamps: Stamps) -> dict[str, float]:
    joules = {}
    for method in begun:
        try:
            joules[method.name] = method.end(stamps.seconds)
        except Exception as error:  # noqa: BLE001 - told in the results; the other methods go on
            bench.trouble(method.name, error)
    return joules


def meter_joules(bench: Bench, stamps: Stamps, row: dict[str, Any]) -> None:
    """End the meter's window and keep its reading whole."""
    try:
        reading = bench.meter.end(stamps.start_ns, stamps.end_ns)[0]
        row["reading"] = reading.model_dump()
        if reading.joules is not None:
            row["joules"]["meter"] = reading.joules
    except Exception as error:  # noqa: BLE001 - told in the results; the other methods go on
        bench.trouble("meter", error)


def shared_window(bench: Bench, seconds: float, phase: int, block: int) -> dict[str, Any]:
    """One window that the meter and the quick methods take together."""
    row: dict[str, Any] = {"block": block, "asked_s": seconds, "phase": phase, "before": bench.board.snapshot()}
    start = named_start(bench, phase, row)
    order = bench.beside[:1] + bench.draw.sample(bench.beside[1:], len(bench.beside) - 1) if bench.beside else []
    begun: list[Method] = []

    def meanwhile() -> None:
        begun.extend(begin_all(bench, order, start))
        if seconds == REFERENCE_S:
            trace_power(bench, start, row)

    stamps = bench.work.run(bench.work.replays(seconds), start, meanwhile)
    late = time.monotonic_ns() - stamps.end_ns
    row["joules"] = end_all(bench, begun, stamps)
    if row.get("meter_began"):
        meter_joules(bench, stamps, row)
    return {**row, **stamped(stamps, start), "told_after_ns": late, "after": bench.board.snapshot()}


def lone_window(bench: Bench, method: Method, seconds: float, block: int) -> dict[str, Any]:
    """One window of a method that is slow to begin: the work starts once it has begun, at a drawn phase."""
    row: dict[str, Any] = {"block": block, "asked_s": seconds, "before": bench.board.snapshot(), "joules": {}}
    time.sleep(bench.draw.random() * TICK_NS / 1e9)
    begun = begin_all(bench, [method], 0)
    stamps = bench.work.run(bench.work.replays(seconds))
    row["joules"] = end_all(bench, begun, stamps)
    return {**row, **stamped(stamps, stamps.start_ns), "after": bench.board.snapshot()}


def stamped(stamps: Stamps, start: int) -> dict[str, Any]:
    return {
        "start_ns": stamps.start_ns,
        "end_ns": stamps.end_ns,
        "replays": stamps.replays,
        "late_ns": stamps.start_ns - start,
    }


def take(bench: Bench, row_of: Any, *args: Any) -> None:
    """Rest and preheat, take one window, keep it."""
    rest, work = bench.history.ask(time.monotonic_ns())
    time.sleep(rest)
    preheat = bench.work.run(bench.work.replays(work))
    row = row_of(bench, *args)
    bench.history.busy_ns += preheat.end_ns - preheat.start_ns + row["end_ns"] - row["start_ns"]
    row.update(rest_s=rest, preheat_s=preheat.seconds)
    bench.results.data["windows"].append(row)
    bench.results.write()
    seconds = (row["end_ns"] - row["start_ns"]) / 1e9
    shown = ", ".join(f"{name} {joules:.1f} J" for name, joules in row["joules"].items())
    bench.results.log(f"{seconds:.3f} s: {shown}")


def plan(lengths: Sequence[float], draw: random.Random) -> list[tuple[float, int | None]]:
    """One block in drawn order: each length in eight phases, and without the meter (phase None), the shortest twice."""
    rows: list[tuple[float, int | None]] = [(seconds, phase) for seconds in lengths for phase in range(PHASES)]
    rows += [(seconds, None) for seconds in (*lengths, min(lengths))]
    draw.shuffle(rows)
    return rows


def reference(bench: Bench, block: int) -> None:
    take(bench, shared_window, REFERENCE_S, block, block)


def measure(bench: Bench, lengths: Sequence[float], repeats: int, max_seconds: float) -> None:
    """Blocks between references; stops in time for the last reference."""
    reference(bench, 0)
    for block in range(1, max(1, round(repeats / PHASES)) + 1):
        for seconds, phase in plan(lengths, bench.draw):
            if bench.results.elapsed > max_seconds - REFERENCE_S - 10:
                bench.results.errors.append(f"block {block} was cut: {max_seconds:.0f} s are over")
                break
            if phase is not None:
                take(bench, shared_window, seconds, phase, block)
            else:
                for method in list(bench.alone):
                    take(bench, lone_window, method, seconds, block)
        reference(bench, block)
        if bench.results.elapsed > max_seconds - 2 * REFERENCE_S - 10:
            break


def methods(bench: Bench) -> None:
    """Start every method that is installed here; the others' errors are told in the results."""
    for kind, made in ((BESIDE, bench.beside), (ALONE, bench.alone)):
        for factory in kind:
            try:
                made.append(factory(bench.board))
            except Exception as error:  # noqa: BLE001 - told in the results; the other methods go on
                bench.results.fail(f"{factory} could not start", error)


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for accuracy.json")
    parser.add_argument("--seconds", default="1,3", help="lengths of the windows under test")
    parser.add_argument("--repeats", type=int, default=24, help="windows a length; whole blocks of eight")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=0, help="size of a product; 0: the largest below the power limit")
    parser.add_argument("--max-seconds", type=float, default=540, help="end by then")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    asked = options(argv)
    lengths = [float(part) for part in asked.seconds.split(",")]
    board = Board()
    facts = {
        "board": board.facts(),
        "packages": versions("torch", "zeus", "codecarbon", "nvidia-ml-py"),
        "protocol": {
            "reference_s": REFERENCE_S,
            "preheat_s": PREHEAT_S,
            "duty": DUTY,
            "soak_s": SOAK_S,
            "phases": PHASES,
            "seed": asked.seed,
        },
        "windows": [],
    }
    results = Results(asked.out / "accuracy.json", "Accuracy of a window's joules", **facts)
    with GraphWork(board.uuid) as work:
        results.data["sizes"] = choose_size(work, board, (asked.size,) if asked.size else SIZES, asked.seed)
        results.data["work"] = work.facts
        results.log(f"products of {work.facts['size']}: {results.data['sizes'][-1]}")
        soak = work.run(work.replays(SOAK_S))
        bench = Bench(board, work, None, results, random.Random(asked.seed), History(soak.end_ns))
        try:
            bench.meter = gpu_meter(board.uuid, (work.pid,))
        except Exception as error:  # noqa: BLE001 - told in the results; the other methods go on
            results.fail("the meter could not start", error)
        methods(bench)
        measure(bench, lengths, asked.repeats, asked.max_seconds)
        if bench.meter is not None:
            bench.meter.close()
    results.data["seconds"] = results.elapsed
    results.write()
    results.log(f"wrote {results.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
