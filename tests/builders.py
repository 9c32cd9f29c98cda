"""One builder a concept, with defaults that agree with each other: a test names only what it is about.

The default round lasts 4 s, uses 800 J on one GPU and brings 2,000 tokens: 0.4 J/token, 500 tok/s, 200 W.
"""

from __future__ import annotations

from typing import Any

from pytest_lem.model.cycle import Cycle, DeviceMemory
from pytest_lem.model.latency import LatencyPass, RequestTimes
from pytest_lem.model.measurement import EngineRecord, Measurement, MetricValue
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.reading import DeviceReading, Edge, MeterDevice, MeterRecord
from pytest_lem.model.round import RankRun, Round
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec
from pytest_lem.model.telemetry import DeviceUse, Spread
from pytest_lem.model.verdict import Verdict
from pytest_lem.store.environment import Environment, Gpu

GPU = "GPU-5c0ffee0-1111-2222-3333-444455556666"
SECOND = 1_000_000_000
ROUND_SECONDS = 4
ROUND_JOULES = 800.0
TEST = "benchmarks/test_decode.py::test_decode[pytorch-bf16-b8-c0]"
EXPERIMENT = "benchmarks/test_decode.py::test_decode[pytorch-bf16-b8]"


def an_edge(time_ns: int = 0, joules: float = 0.0, **changes: Any) -> Edge:
    return Edge(
        **{"time_ns": time_ns, "joules": joules, "power_w": 60.0, "time_std_ns": 5e6, "power_std_w": 1.0} | changes
    )


def a_reading(joules: float | None = ROUND_JOULES, *, device: str = GPU, **changes: Any) -> DeviceReading:
    """A measured GPU reading; `joules=None` gives an absent one (pass `reason`, `source=None` comes by itself)."""
    known = joules is not None
    defaults: dict[str, Any] = {
        "device": device,
        "kind": "gpu",
        "meter": "nvml",
        "method": "counter",
        "source": "measured" if known else None,
        "joules": joules,
        "std": 1.0 if known else None,
        "reason": None if known else "the counter could not be read",
    }
    return DeviceReading(**defaults | changes)


def a_spread(mean: float | None, n: int = 80, **changes: Any) -> Spread:
    """A reading that was the same all the time; `None`: absent (pass `reason`)."""
    if mean is None:
        return Spread(**{"reason": "the card does not tell it"} | changes)
    return Spread(**{"mean": mean, "min": mean, "max": mean, "p5": mean, "p95": mean, "n": n} | changes)


def a_use(device: str = GPU, *, reasons: dict[str, float] | None = None, **means: float | Spread | None) -> DeviceUse:
    """A GPU that worked all the time; a keyword replaces a gauge's mean, or the whole of it."""
    defaults: dict[str, float | Spread | None] = {
        "power_w": 500.0,
        "sm_clock_mhz": 1980.0,
        "temperature_c": 60.0,
        "gpu_utilization": 1.0,
        "memory_used_bytes": 8.0 * 2**30,
        "sm_active": 0.75,
        "tensor_active": 0.5,
        "dram_active": 0.2,
    }
    gauges = {key: value if isinstance(value, Spread) else a_spread(value) for key, value in (defaults | means).items()}
    return DeviceUse(device=device, samples=80, hertz=20.0, gauges=gauges, throttle_reasons=reasons or {})


def a_round(index: int = 0, **changes: Any) -> Round:
    """Round `index` of back-to-back rounds that begin 5 s apart and last 4 s."""
    start = index * 5 * SECOND
    defaults: dict[str, Any] = {
        "index": index,
        "start_ns": start,
        "end_ns": start + ROUND_SECONDS * SECOND,
        "passes": 10,
        "requests": 80,
        "prompt_tokens": 8_000,
        "tokens": 2_000,
        "devices": (a_reading(),),
    }
    return Round(**defaults | changes)


def a_rank(rank: int = 0, **changes: Any) -> RankRun:
    """What a rank of an engine that several share did in round 0."""
    defaults = {"device": "cpu", "start_ns": 0, "end_ns": ROUND_SECONDS * SECOND, "tokens": 2_000, "weights_bytes": 100}
    return RankRun(**{"rank": rank, **defaults, **changes})


def an_invalid_round(index: int = 0, reason: str = "another process used the GPU", **changes: Any) -> Round:
    return a_round(index, valid=False, reason=reason, **changes)


def a_latency_pass(ttft_ms: float = 20.0, gap_ms: float = 10.0, tokens: int = 4) -> LatencyPass:
    """One hooked pass of a batch whose `tokens` tokens come `gap_ms` apart."""
    times = RequestTimes(ttft_ms=ttft_ms, gaps_ms=(gap_ms,) * (tokens - 1), count=8)
    return LatencyPass(seconds=(ttft_ms + gap_ms * (tokens - 1)) / 1e3, requests=(times,))


def a_cycle(index: int = 0, *, rounds: int | tuple[Round, ...] = 2, **changes: Any) -> Cycle:
    """A steady cycle on one GPU with one warm-up round; `rounds` is their number, or the rounds themselves."""
    measured = rounds if isinstance(rounds, tuple) else tuple(a_round(i + 1) for i in range(rounds))
    defaults: dict[str, Any] = {
        "index": index,
        "launch": f"launch-{index}",
        "gpus": (GPU,),
        "load_seconds": 3.5,
        "warmup_rounds": (a_round(0),),
        "steady": True,
        "rounds": measured,
        "memory": (DeviceMemory(device=GPU, allocated_bytes=3 * 2**30, reserved_bytes=4 * 2**30),),
        "stopped": "precision",
    }
    return Cycle(**defaults | changes)


def a_metric(key: str = "joules_per_token", value: float | None = 0.4, **changes: Any) -> MetricValue:
    """A measured value with a 95 % interval of ±2 %; `value=None` gives an absent one with a reason."""
    defaults: dict[str, Any] = {"value": value, "unit": METRICS[key].unit}
    if value is None:
        defaults |= {"reason": "no meter works here"}
    else:
        defaults |= {
            "low": value * 0.98,
            "high": value * 1.02,
            "n": 8,
            "source": "measured",
            "covers": "this session only",
        }
    return MetricValue(**defaults | changes)


def metrics(**values: float | MetricValue | None) -> dict[str, MetricValue]:
    """The default measurement's metrics; `joules_per_token=0.5`, `=None` or `=a_metric(...)` replaces one."""
    defaults: dict[str, float | MetricValue | None] = {
        "joules_per_token": 0.4,
        "tokens_per_second": 500.0,
        "ttft_ms": 20.0,
        "tpot_ms": 10.0,
        "power_w": 200.0,
        "peak_memory_bytes": 3.0 * 2**30,
    }
    return {
        key: value if isinstance(value, MetricValue) else a_metric(key, value)
        for key, value in (defaults | values).items()
    }


def an_engine(backend: str = "pytorch", **changes: Any) -> EngineRecord:
    return EngineRecord(requested=EngineSpec(backend=backend, **changes), observed={"dtype": "torch.bfloat16"})


def a_meter(name: str = "nvml", **changes: Any) -> MeterRecord:
    """The GPU's meter, used on one GPU."""
    device = MeterDevice(id=GPU, kind="gpu", name="NVIDIA H100 80GB HBM3")
    return MeterRecord(**{"name": name, "used": True, "source": "measured", "devices": (device,)} | changes)


def a_measurement(test: str = TEST, **changes: Any) -> Measurement:
    """A decode test on one GPU with one cycle of two valid rounds."""
    defaults: dict[str, Any] = {
        "id": f"{test}:{changes['name']}" if changes.get("name") else test,
        "test": test,
        "engine": an_engine(),
        "workload": WorkloadSpec(batch=8),
        "protocol": ProtocolSpec(),
        "meters": (a_meter(),),
        "cycles": (a_cycle(),),
        "metrics": metrics(),
    }
    return Measurement(**defaults | changes)


def a_window(name: str = "tokenize", *, test: str = "tests/test_code.py::test_window", **changes: Any) -> Measurement:
    """A plain window around the user's code: no engine, no workload, one round, no warm-up."""
    values = {"gpu_joules": 120.0, "seconds": 1.5, "power_w": 80.0}
    found = {key: a_metric(key, value, low=None, high=None, n=1) for key, value in values.items()}
    cycle = a_cycle(
        warmup_rounds=(), steady=None, rounds=(a_round(0, passes=1, requests=0, tokens=0, prompt_tokens=0),)
    )
    defaults: dict[str, Any] = {"engine": None, "workload": None, "cycles": (cycle,), "metrics": found}
    return a_measurement(test, name=name, **defaults | changes)


def a_verdict(**changes: Any) -> Verdict:
    """A budget of 0.5 J/token that held."""
    defaults: dict[str, Any] = {
        "test": TEST,
        "metric": "joules_per_token",
        "limit": 0.5,
        "better": "lower",
        "value": 0.4,
        "low": 0.392,
        "high": 0.408,
        "status": "passed",
        "line": "joules_per_token 0.4 J/tok is within its budget of 0.5 J/tok",
    }
    return Verdict(**defaults | changes)


def a_gpu(uuid: str = GPU) -> Gpu:
    return Gpu(uuid=uuid, name="NVIDIA H100 80GB HBM3", driver="570.86.15", power_limit_w=700.0)


def an_environment(**changes: Any) -> Environment:
    defaults: dict[str, Any] = {
        "host": "bench-1",
        "python": "3.12.4",
        "platform": "Linux-6.8",
        "gpus": (a_gpu(),),
        "packages": {"pytest-lem": "0.1.0"},
    }
    return Environment(**defaults | changes)
