"""What telemetry costs: each call to the driver, the sampler's thread, and the throughput of work beside it.

Windows with the sampler and without take turns, in the orders of a Williams design (of two: ABBA): of a CUDA graph,
whose windows repeat within a thousandth, and of an engine's passes, there also with a thread that only wakes and with
all but GPM, so that a cost has a culprit. Every part has its time: all of it takes three and a half minutes, unless it
is given more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.figures import quantile
from benchmarks.graphwork.board import Board
from benchmarks.graphwork.results import Results, versions
from benchmarks.graphwork.work import GraphWork
from benchmarks.overhead.engine import EngineWork
from benchmarks.overhead.gpm_probe import probe
from benchmarks.overhead.gpu import Work, stamped
from benchmarks.overhead.summary import CHEAP, WAKING
from pytest_lem.campaign.order import williams
from pytest_lem.engines import registry
from pytest_lem.engines.host import Engine
from pytest_lem.meters.gauges import GPM
from pytest_lem.meters.gpm import Gpm
from pytest_lem.meters.nvml import NvmlDriver
from pytest_lem.meters.pace import HERTZ
from pytest_lem.meters.telemetry import Telemetry
from pytest_lem.model.errors import MeterError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

Json = dict[str, Any]
GRAPH_SIZE = 1024
GRAPH_SECONDS = 1.0
ENGINE_SECONDS = 2.0
GRAPH_UNTIL_S = 60.0
"""Windows of the graph take another turn until then, counted from the start of the run."""
_LEAD_NS = 30_000_000
_CALLS = 100
_APART_S = 0.02


def measure(results: Results, asked: EngineSpec, workload: WorkloadSpec, until_s: float) -> None:
    """Fill `results`: GPM as it is, the calls idle and beside work, pairs of a CUDA graph, pairs of an engine.

    Windows of the engine take another turn until `until_s`, counted from the start of the run.
    """
    board = Board()
    results.data.update(
        board=board.facts(), packages=versions("torch", "transformers", "nvidia-ml-py"), hertz=HERTZ, gpm={}, calls={}
    )
    results.data["gpm"]["idle"] = probe(board.index)
    results.data["calls"]["idle"] = call_costs(board.uuid)
    results.log("calls on an idle GPU are timed")
    telemetry = Telemetry([NvmlDriver(board.uuid)])
    try:
        results.data["opened"] = opened(telemetry)
        for part, act in (
            ("graph", lambda: _graph(results, board, telemetry)),
            ("engine", lambda: _engine(results, board, asked, workload, telemetry, until_s)),
        ):
            try:
                act()
            except Exception as error:  # noqa: BLE001 - told in the results and by the exit status
                results.fail(part, error)
    finally:
        telemetry.close()


def opened(telemetry: Telemetry) -> list[Json]:
    """What each GPU was found to tell, and what one reading costs by the sampler's own account."""
    return [
        {
            "uuid": track.gauges.uuid,
            "lacking": track.gauges.lacking,
            "notes": list(track.gauges.notes),
            "cost_us": {name: source.cost_s * 1e6 for name, source in track.gauges.sources.items()},
        }
        for track in telemetry.tracks
    ]


def call_costs(uuid: str, count: int = _CALLS) -> Json:
    """Name → microseconds of one call, wall and CPU; calls take turns and rest 20 ms, as the sampler lets them."""
    driver = NvmlDriver(uuid)
    calls: dict[str, Callable[[], Any]] = {
        "power (field 186)": driver.power_w,
        "power (average)": driver.average_power_w,
        "SM clock": lambda: driver.clock_mhz("sm"),
        "memory clock": lambda: driver.clock_mhz("memory"),
        "temperature": driver.temperature_c,
        "utilization": driver.utilization,
        "memory": driver.memory_used,
        "throttle reasons": driver.throttle_reasons,
    }
    gpm = _gpm(driver)
    if gpm is not None:
        calls["GPM"] = gpm.read
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    failed: dict[str, str] = {}
    for _ in range(count):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                call()
            except MeterError as error:
                failed[name] = str(error)
                continue
            times[name].append((time.perf_counter() - wall, time.thread_time() - cpu))
        time.sleep(_APART_S)
    if gpm is not None:
        gpm.close()
    return {name: {**_summed(taken), "error": failed.get(name)} for name, taken in times.items()}


def _gpm(driver: NvmlDriver) -> Gpm | None:
    try:
        return driver.gpm()
    except MeterError:
        return None


def _summed(taken: list[tuple[float, float]]) -> Json:
    if not taken:
        return {"n": 0}
    wall, cpu = [1e6 * each for each, _ in taken], [1e6 * each for _, each in taken]
    return {
        "n": len(taken),
        "mean_us": fmean(wall),
        "p50_us": quantile(wall, 0.5),
        "p99_us": quantile(wall, 0.99),
        "cpu_us": fmean(cpu),
    }


def _graph(results: Results, board: Board, telemetry: Telemetry) -> None:
    with GraphWork(board.uuid) as work:
        work.build(GRAPH_SIZE, 0)
        _beside(results, board, work, telemetry)


def _beside(results: Results, board: Board, work: GraphWork, telemetry: Telemetry) -> None:
    results.log(f"graph: {work.facts}")

    def look() -> None:
        time.sleep(0.3)
        results.data["gpm"]["working"] = probe(board.index)
        results.data["calls"]["working"] = call_costs(board.uuid)

    work.run(work.replays(9.0), meanwhile=look)
    results.data["graph"] = {"work": work.facts, "pairs": []}
    results.log("calls beside work are timed")
    turns(results, "graph", work, {"on": telemetry, "off": None}, GRAPH_SECONDS, GRAPH_UNTIL_S)


def _engine(
    results: Results, board: Board, asked: EngineSpec, workload: WorkloadSpec, telemetry: Telemetry, until_s: float
) -> None:
    log = Path(results.path).with_suffix(".log")
    engine = Engine.start(registry.validate(asked), gpus=[board.uuid], log_path=log, on_progress=results.log)
    try:
        work = EngineWork(engine, workload)
        results.data["engine"] = {"work": work.facts, "pairs": []}
        with ExitStack() as stack:
            waking, cheap = (
                stack.enter_context(closing(asking(board.uuid, kept)))
                for kept in (lambda _: False, lambda name: name != GPM)
            )
            samplers = {"on": telemetry, "off": None, WAKING: waking, CHEAP: cheap}
            turns(results, "engine", work, samplers, ENGINE_SECONDS, until_s)
    finally:
        engine.stop()


def asking(uuid: str, kept: Callable[[str], bool]) -> Telemetry:
    """Telemetry that asks only the sources whose name is `kept`; without any its thread wakes, and that is all."""
    telemetry = Telemetry([NvmlDriver(uuid)])
    sources = telemetry.tracks[0].gauges.sources
    for name in [name for name in sources if not kept(name)]:
        del sources[name]
    return telemetry


def turns(
    results: Results,
    part: str,
    work: Work,
    samplers: Mapping[str, Telemetry | None],
    seconds: float,
    until_s: float,
) -> None:
    """A window with each of `samplers` in turn until `until_s`, two turns at least; `None` is a window without any.

    Each comes first as often as any other, and after each of them (a Williams design).
    """
    replays, kept, names = work.replays(seconds), results.data[part]["pairs"], list(samplers)
    orders = williams(len(names))
    window(work, replays, samplers["on"])
    while len(kept) < 2 or results.elapsed < until_s:
        order = [names[each] for each in orders[len(kept) % len(orders)]]
        turn: Json = {"index": len(kept), "first": order[0]}
        for name in order:
            turn[name] = window(work, replays, samplers[name])
        kept.append(turn)
        results.write()
        lengths = {name: turn[name]["end_ns"] - turn[name]["start_ns"] for name in names}
        told = ", ".join(f"{name} / off {lengths[name] / lengths['off']:.5f}" for name in names if name != "off")
        results.log(f"{part} turn {len(kept)}: {told}, core {turn['on']['thread_cpu_share']:.5f}")


def window(work: Work, replays: int, telemetry: Telemetry | None) -> Json:
    """One window, and with telemetry what that saw and took."""
    start = time.monotonic_ns() + _LEAD_NS
    if telemetry is None:
        return stamped(work.run(replays, start))
    with telemetry.sampling(start):
        stamps = work.run(replays, start)
    told = time.monotonic_ns()
    use = telemetry.use(stamps.start_ns, stamps.end_ns)
    seconds = (stamps.end_ns - stamps.start_ns) / 1e9
    return {
        **stamped(stamps),
        "thread_cpu_s": telemetry.thread_cpu_s,
        "thread_cpu_share": telemetry.thread_cpu_s / seconds,
        "stopped_after_ns": told - stamps.end_ns,
        "use": [each.model_dump() for each in use],
    }
