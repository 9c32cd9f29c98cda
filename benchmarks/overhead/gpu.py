"""Metering beside fixed GPU work: pairs of windows with and without the meter, in the order ABBA."""

from __future__ import annotations

import time
from typing import Any, Protocol

from benchmarks.graphwork.board import Board
from benchmarks.graphwork.metering import CallLog, gpu_meter
from benchmarks.graphwork.results import Results, versions
from benchmarks.graphwork.work import SIZES, GraphWork, Stamps, choose_size
from benchmarks.overhead.summary import calls_around

Json = dict[str, Any]


class Work(Protocol):
    """Fixed work in a process of its own: `run` repeats it `replays` times from an instant on."""

    facts: dict[str, Any]

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that work."""
        ...

    def replays(self, seconds: float) -> int:
        """How many repeats last `seconds`."""
        ...

    def run(self, replays: int, start_ns: int = 0) -> Stamps:
        """Repeat the work; tell when it began and ended."""
        ...


def metered(work: Work, meter: Any, log: CallLog, replays: int, phase: int) -> Json:
    """One window with the meter around it, its CPU time, and when the driver was called."""
    log.clear()
    cpu, began = time.process_time(), time.monotonic_ns()
    start = meter.begin(phase)
    begun = time.monotonic_ns()
    stamps = work.run(replays, start)
    told = time.monotonic_ns()
    reading = meter.end(stamps.start_ns, stamps.end_ns)[0]
    ended = time.monotonic_ns()
    return {
        **stamped(stamps),
        "cpu_s": time.process_time() - cpu,
        "round_s": (ended - began) / 1e9,
        "head_s": (stamps.start_ns - began) / 1e9,
        "tail_s": (ended - stamps.end_ns) / 1e9,
        "begin_s": (begun - began) / 1e9,
        "told_after_ns": told - stamps.end_ns,
        "joules": reading.joules,
        "faults": list(reading.faults),
        "calls": calls_around(log.calls, stamps.start_ns, stamps.end_ns),
    }


def plain(work: Work, replays: int, head_s: float, tail_s: float) -> Json:
    """The same work without the meter, idle as long before and after, so that the chip is as warm."""
    stamps = work.run(replays, time.monotonic_ns() + round(head_s * 1e9))
    time.sleep(tail_s)
    return stamped(stamps)


def stamped(stamps: Stamps) -> Json:
    return {"start_ns": stamps.start_ns, "end_ns": stamps.end_ns, "replays": stamps.replays}


def measure(results: Results, seconds: float, pairs: int) -> None:
    """Fill `results` with `pairs` pairs of windows of a CUDA graph."""
    board = Board()
    results.data.update(board=board.facts(), packages=versions("torch", "nvidia-ml-py"))
    with GraphWork(board.uuid) as work:
        results.data["sizes"] = choose_size(work, board, SIZES, seed=0)
        measure_pairs(results, board, work, seconds, pairs)


def measure_pairs(results: Results, board: Board, work: Work, seconds: float, pairs: int) -> None:
    """Fill `results`; the first metered window, which finds the gaps' lengths, is kept apart."""
    results.data.update(work=work.facts, pairs=[])
    log = CallLog()
    meter = gpu_meter(board.uuid, work.pids, log)
    replays = work.replays(seconds)
    last = results.data["first"] = metered(work, meter, log, replays, 0)
    for index in range(pairs):
        last = pair(results, work, meter, log, replays, index, last)
    meter.close()


def pair(results: Results, work: Work, meter: Any, log: CallLog, replays: int, index: int, last: Json) -> Json:
    """One pair: with the meter first where `index` is even. Gives its metered window."""
    both: Json = {"index": index, "first": "plain" if index % 2 else "metered"}
    if index % 2:
        both["plain"] = plain(work, replays, last["head_s"], last["tail_s"])
    both["metered"] = metered(work, meter, log, replays, index)
    if not index % 2:
        both["plain"] = plain(work, replays, both["metered"]["head_s"], both["metered"]["tail_s"])
    results.data["pairs"].append(both)
    results.write()
    ratio = _length(both["metered"]) / _length(both["plain"])
    results.log(f"pair {index + 1}: with / without the meter {ratio:.5f}, {both['metered']['joules']} J")
    return dict(both["metered"])


def _length(window: Json) -> int:
    return int(window["end_ns"] - window["start_ns"])
