"""The benchmark of what telemetry costs: pairs beside work, and the tables that are made of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import project  # noqa: F401 - puts the project's root on the path
from simulated_gpu import GpuSpec, SimulatedGpu

from benchmarks.graphwork.results import Results
from benchmarks.graphwork.work import Stamps
from benchmarks.overhead import telemetry as cost
from benchmarks.overhead.summary import CHEAP, WAKING, render_telemetry
from pytest_lem.meters.telemetry import Telemetry


class Naps:
    """Work whose repeats last 50 ms."""

    def replays(self, seconds: float) -> int:
        return round(seconds / 0.05)

    def run(self, replays: int, start_ns: int = 0) -> Stamps:
        time.sleep(max(start_ns - time.monotonic_ns(), 0) / 1e9)
        began = time.monotonic_ns()
        time.sleep(replays * 0.05)
        return Stamps(began, time.monotonic_ns(), replays)


def taken(tmp_path: Path, *samplers: str) -> list[dict[str, Any]]:
    """Two turns of windows."""
    results = Results.__new__(Results)
    results.path, results.began, results.errors = tmp_path / "r.json", time.monotonic(), []
    results.data = {"graph": {"pairs": []}}
    telemetry = Telemetry([SimulatedGpu(GpuSpec(counter=None))])
    asked = {name: telemetry if name != "off" else None for name in samplers}
    cost.turns(results, "graph", Naps(), asked, 0.1, 0.0)
    return results.data["graph"]["pairs"]


def test_pairs_take_turns_and_keep_what_the_sampler_took_and_saw(tmp_path: Path) -> None:
    first, second = taken(tmp_path, "on", "off")
    assert (first["first"], second["first"]) == ("on", "off")
    assert first["on"]["start_ns"] < first["off"]["start_ns"]
    assert second["off"]["start_ns"] < second["on"]["start_ns"]
    assert "use" not in first["off"]
    (use,) = first["on"]["use"]
    assert use["samples"] >= 1
    assert first["on"]["thread_cpu_share"] > 0


def test_each_kind_of_sampler_has_its_window_in_a_turn_and_another_comes_first_in_the_next(tmp_path: Path) -> None:
    first, second = taken(tmp_path, "on", "off", WAKING, CHEAP)
    order = [sorted(("on", "off", WAKING, CHEAP), key=lambda name: turn[name]["start_ns"]) for turn in (first, second)]
    assert order == [["on", "off", CHEAP, WAKING], ["off", WAKING, "on", CHEAP]]
    assert (first["first"], second["first"]) == ("on", "off")


def test_telemetry_that_asks_for_some_sources_alone_asks_no_other(monkeypatch) -> None:
    monkeypatch.setattr(cost, "NvmlDriver", lambda _: SimulatedGpu(GpuSpec(counter=None)))
    waking = cost.asking("GPU-1", lambda _: False)
    waking.sample()
    assert waking.tracks[0].moments == []

    clocks = cost.asking("GPU-1", lambda name: name == "sm_clock")
    clocks.restart()
    clocks.sample()
    assert [set(moment.values) for moment in clocks.tracks[0].moments] == [{"sm_clock_mhz"}]


def side(start: float, seconds: float, **more: Any) -> dict[str, Any]:
    return {"start_ns": round(start * 1e9), "end_ns": round((start + seconds) * 1e9), "replays": 10, **more}


def test_the_tables_tell_the_cost_of_sampling_of_each_call_and_what_was_seen() -> None:
    gauges = {
        "power_w": {"mean": 512.3, "min": 500.0, "max": 640.0, "n": 80, "reason": None},
        "sm_active": {"mean": None, "min": None, "max": None, "n": 0, "reason": "GPM: the card has none"},
    }
    on = {"thread_cpu_s": 0.02, "thread_cpu_share": 0.005, "use": [{"hertz": 19.9, "gauges": gauges}]}
    pairs = [{"on": side(0, 4.004, **on), "off": side(5, 4.0), CHEAP: side(10, 4.002, **on)}] * 3
    call = {"n": 100, "mean_us": 5.2, "p99_us": 11.0, "cpu_us": 5.0, "error": None}
    told = render_telemetry(
        {
            "board": {"name": "H200", "driver": "570"},
            "packages": {"torch": "2.11"},
            "errors": [],
            "hertz": 20.0,
            "graph": {"work": {"size": 8, "products": 3, "replay_seconds": 0.005}, "pairs": pairs},
            "calls": {
                "idle": {"power (field 186)": call, "GPM": {"n": 0, "error": "Not Supported"}},
                "working": {"power (field 186)": call},
            },
        }
    )
    assert (
        "| throughput cost beside a CUDA graph, 3 pairs of 4.00 s (95 %) | 0.100 % (0.100 to 0.100) | ≤ 0.1 % |" in told
    )
    assert "| the same, all but GPM | 0.050 % (0.050 to 0.050) | – |" in told
    assert "| CPU time of the sampler beside a CUDA graph, share of one core | 0.50 % | ≤ 1 % |" in told
    assert "| power (field 186) | 5 µs | 11 µs | 5 µs | 5 µs | 11 µs | 5 µs |" in told
    assert "| GPM | Not Supported | – | – | – | – | – |" in told
    assert "| graph: power_w | 20.0 | 512.3 | 500 | 640 |" in told
    assert "| graph: sm_active | 0.0 | GPM: the card has none | – | – |" in told
