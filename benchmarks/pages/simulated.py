"""A report of as many configurations as are asked for, simulated: nothing in it was measured, and it says so.

Its shape is that of an H100's reports: rounds between idle edges, warm-up before them, a board that grows warm, a round
in forty that another process spoilt, traffic with ticks of the counter, and some numbers that are absent.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, product

from pytest_lem.model.cycle import Cycle, DeviceMemory
from pytest_lem.model.environment import Environment, Gpu
from pytest_lem.model.latency import LatencyPass, RequestTimes
from pytest_lem.model.measurement import EngineRecord, Measurement
from pytest_lem.model.phases import BasePart, PhasePart, Phases
from pytest_lem.model.reading import DeviceReading, DeviceState, Edge, MeterDevice, MeterRecord
from pytest_lem.model.round import Round, Served
from pytest_lem.model.search import Search, SearchPoint
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec
from pytest_lem.model.traffic import TrafficSpec
from pytest_lem.model.verdict import Comparison, Verdict
from pytest_lem.reporting import late_metrics
from pytest_lem.store.report import Report, RunInfo

GPU = "GPU-51d0ca7e-0000-4000-8000-000000000001"
BOARD = "simulated GPU (no board was measured)"
BEGAN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
IDLE_W = 70.0
SECOND = 1_000_000_000
MODELS = {"synthetic:llama-3.2-1b": 1.0, "synthetic:llama-3.2-3b": 2.6, "synthetic:llama-3.1-8b": 6.1}
ENGINES = {"vllm": 1.0, "pytorch": 1.7}
PRECISIONS = {"bfloat16": 1.0, "float16": 1.01, "float32": 1.9}
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
LENGTHS = (64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Shape:
    """One configuration: what is asked for, and what it costs in this simulation."""

    engine: str
    model: str
    precision: str
    batch: int
    output: int
    qps: float | None = None

    @property
    def joules(self) -> float:
        """J/token: weights are read once for a whole batch, then each token costs its own."""
        size = MODELS[self.model] * ENGINES[self.engine] * PRECISIONS[self.precision]
        return size * (0.9 / self.batch + 0.012 + self.output * 4e-6)

    @property
    def tpot_ms(self) -> float:
        """Time per token: slowly more with the batch."""
        size = MODELS[self.model] * ENGINES[self.engine] * PRECISIONS[self.precision]
        return size * (3.0 + 0.05 * self.batch)

    @property
    def test(self) -> str:
        """The experiment's id."""
        short = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}[self.precision]
        load = f"poisson{self.qps:g}" if self.qps else f"b{self.batch}"
        name = self.model.removeprefix("synthetic:")
        return f"benchmarks/test_fleet.py::test_fleet[{self.engine}-{name}-{short}-{load}-o{self.output}]"


def shapes() -> Iterator[Shape]:
    """Configurations, the small ones of each kind first; every tenth one is asked under traffic."""
    every = product(LENGTHS, PRECISIONS, MODELS, ENGINES, BATCHES)
    for place, (output, precision, model, engine, batch) in enumerate(every):
        served = place % 10 == 9
        yield Shape(engine, model, precision, batch, output, qps=2.0 * batch**0.5 if served else None)


def report(configurations: int, cycles: int, *, seed: int = 0, days: int = 0, dearer: float = 1.0) -> Report:
    """The run that began `days` after the first, each token of it `dearer` times as dear."""
    draw = random.Random(seed + 1000 * days)
    chosen = list(islice(shapes(), configurations))
    measurements = tuple(_measured(shape, cycles, draw, dearer) for shape in chosen)
    began = BEGAN + timedelta(days=days)
    return Report(
        run=RunInfo(
            id=f"simulated-{began:%Y%m%d}",
            started=began,
            ended=began + timedelta(hours=2),
            complete=True,
            quick=False,
            options={"command": {"simulated": f"{configurations} configurations, {cycles} cycles, seed {seed}"}},
        ),
        environment=_environment(),
        measurements=measurements,
        verdicts=tuple(_verdicts(measurements)),
        searches=(_search(draw),),
        phases=(*(_phases(shape) for shape in chosen[:3]), _phases_of_traffic(chosen[0])),
    )


def _environment() -> Environment:
    gpu = Gpu(uuid=GPU, name=BOARD, driver="570.86.15", power_limit_w=700.0, clocks_mhz={"application": 1980})
    return Environment(
        host="simulated",
        python="3.12.4",
        platform="Linux (simulated)",
        cpu="simulated CPU",
        gpus=(gpu,),
        packages={"pytest-lem": "0.1.0"},
    )


def _measured(shape: Shape, cycles: int, draw: random.Random, dearer: float) -> Measurement:
    traffic = TrafficSpec(arrivals="poisson", qps=shape.qps, seconds=60) if shape.qps else None
    engine = EngineSpec(backend=shape.engine, model=shape.model, precision=shape.precision, device="cuda")
    slo = ServiceLevel(ttft_ms=450, tpot_ms=40)
    found = Measurement(
        id=shape.test,
        test=shape.test,
        engine=EngineRecord(requested=engine, observed=_observed(shape)),
        workload=WorkloadSpec(batch=shape.batch, output_tokens=shape.output, traffic=traffic, slo=slo),
        protocol=ProtocolSpec(cycles=cycles),
        meters=(
            MeterRecord(
                name="nvml", used=True, source="measured", devices=(MeterDevice(id=GPU, kind="gpu", name=BOARD),)
            ),
            MeterRecord(name="rapl", used=False, reason="simulated: there is no counter"),
        ),
        cycles=tuple(_cycle(shape, index, draw, dearer) for index in range(cycles)),
    )
    return found.model_copy(update={"metrics": late_metrics(found)})


def _observed(shape: Shape) -> dict[str, object]:
    kernel = {"vllm": "FLASH_ATTN", "pytorch": "sdpa"}[shape.engine]
    return {
        "precision": shape.precision,
        "device": "cuda",
        "options": {"attention_implementation": kernel},
        "versions": {"torch": "2.13.0", shape.engine: "simulated"},
    }


def _cycle(shape: Shape, index: int, draw: random.Random, dearer: float) -> Cycle:
    launch = 1 + draw.gauss(0, 0.006)
    rounds = []
    start = (1 + index * 200) * SECOND
    for place in range(13 if shape.qps is None else 4):
        warm = max(0, 5 - place)
        # The first rounds fit their length and the board is cold; then it grows warm, and leaks a little more.
        factor = dearer * launch * (1 + 0.02 * warm + 0.0008 * place) * (1 + draw.gauss(0, 0.004))
        made = _round(shape, place, start, factor, draw)
        rounds.append(made)
        start = made.end_ns + SECOND
    split = 5 if shape.qps is None else 1
    measured = tuple(each.model_copy(update={"index": place}) for place, each in enumerate(rounds[split:]))
    memory = int(2**30 * (2.2 * MODELS[shape.model] * PRECISIONS[shape.precision] + 0.05 * shape.batch))
    return Cycle(
        index=index,
        launch=f"launch-{index}",
        gpus=(GPU,),
        load_seconds=round(8 * MODELS[shape.model] + draw.random(), 2),
        warmup_rounds=tuple(rounds[:split]),
        steady=True,
        rounds=measured,
        memory=(DeviceMemory(device=GPU, allocated_bytes=memory, reserved_bytes=memory + 2**28),)
        if shape.engine == "pytorch"
        else (),
        stopped="precision",
        seconds=60.0,
    )


def _round(shape: Shape, place: int, start: int, factor: float, draw: random.Random) -> Round:
    seconds = 4.0 + draw.random() * 0.2 if shape.qps is None else 30.0
    tokens = int(seconds * 1e3 / shape.tpot_ms * shape.batch)
    joules = tokens * shape.joules * factor
    spoilt = draw.random() < 1 / 40
    return Round(
        index=place,
        start_ns=start,
        end_ns=start + int(seconds * SECOND),
        passes=1 if shape.qps else max(1, tokens // (shape.output * shape.batch)),
        requests=max(1, tokens // shape.output),
        prompt_tokens=max(1, tokens // shape.output) * 128,
        tokens=tokens,
        valid=not spoilt,
        reason="another process used the GPU for 0.31 s" if spoilt else None,
        devices=(_reading(shape, start, seconds, joules, place, draw),),
        latency=_latency(shape, draw) if shape.qps or place % 6 == 5 else None,
        served=_served(start, seconds, tokens, joules) if shape.qps else None,
    )


def _reading(shape: Shape, start: int, seconds: float, joules: float, place: int, draw: random.Random) -> DeviceReading:
    end = start + int(seconds * SECOND)
    head = Edge(time_ns=start - SECOND // 8, joules=0, power_w=IDLE_W, time_std_ns=5e6, power_std_w=1)
    tail = Edge(time_ns=end + SECOND // 8, joules=joules, power_w=IDLE_W + 15, time_std_ns=5e6, power_std_w=1)
    states = [
        DeviceState(
            time_ns=time,
            sm_clock_mhz=1980 - 15 * (place > 9) * at,
            temperature_c=38 + 2 * place + 3 * at,
            throttle_reasons=("power cap",) if place > 10 and at else (),
        )
        for at, time in ((0, start - SECOND // 5), (1, end + SECOND // 5))
    ]
    return DeviceReading(
        device=GPU,
        kind="gpu",
        meter="nvml",
        method="counter",
        source="measured",
        joules=joules,
        std=joules * 2e-4,
        head=head,
        tail=tail,
        before=states[0],
        after=states[1],
        ticks=tuple(_ticks(start, seconds, joules, draw)) if shape.qps else (),
    )


def _ticks(start: int, seconds: float, joules: float, draw: random.Random) -> Iterator[tuple[int, float]]:
    """A counter that ticks every 100 ms under a load that comes and goes."""
    steps = int(seconds * 10)
    shares = [0.3 + draw.random() for _ in range(steps)]
    total, known = sum(shares), 0.0
    yield start, 0.0
    for step, share in enumerate(shares, start=1):
        known += joules * share / total
        yield start + step * SECOND // 10, known


def _latency(shape: Shape, draw: random.Random) -> LatencyPass:
    requests = []
    for place in range(min(shape.batch, 8) if shape.qps is None else 24):
        gap = shape.tpot_ms * (1 + abs(draw.gauss(0, 0.05)))
        first = 8 * shape.tpot_ms + draw.random() * 5 * (1 if shape.qps is None else 20)
        e2e = first + 7 * gap
        requests.append(
            RequestTimes(
                ttft_ms=first, gaps_ms=(gap,) * 7, e2e_ms=e2e, index=place, due_ms=place * 1e3, sent_ms=place * 1e3
            )
        )
    return LatencyPass(seconds=1.0, requests=tuple(requests))


def _served(start: int, seconds: float, tokens: int, joules: float) -> Served:
    reading = DeviceReading(
        device=GPU, kind="gpu", meter="nvml", method="counter", source="measured", joules=joules * 1.1, std=1.0
    )
    return Served(
        start_ns=start - SECOND,
        end_ns=start + int((seconds + 2) * SECOND),
        requests=24,
        prompt_tokens=24 * 128,
        tokens=tokens,
        prompt_lengths=(128,) * 24,
        devices=(reading,),
        steady=True,
        idle_share=0.04,
    )


def _verdicts(measurements: Sequence[Measurement]) -> Iterator[Verdict]:
    for place, each in enumerate(measurements):
        value = each.metrics["joules_per_token"]
        if value.value is None or place % 4:
            continue
        missed = place % 20 == 0
        limit = value.value * (0.97 if missed else 1.1)
        said = "breaks" if missed else "keeps"
        yield Verdict(
            test=each.test,
            metric="joules_per_token",
            limit=limit,
            better="lower",
            value=value.value,
            low=value.low,
            high=value.high,
            status="failed" if missed else "passed",
            line=f"joules_per_token {value.value:.3g} J/tok {said} its budget of {limit:.3g} J/tok",
        )
        if place % 8 == 0:
            yield _gate(each, value.value, regressed=place % 32 == 8)


def _gate(measurement: Measurement, value: float, *, regressed: bool) -> Verdict:
    change = 0.081 if regressed else 0.004
    outcome = "REGRESSED" if regressed else "OK"
    return Verdict(
        test=measurement.test,
        metric="joules_per_token",
        kind="gate",
        better="lower",
        value=value,
        status="failed" if regressed else "passed",
        line=f"joules_per_token {100 * change:+.1f} % against main: {outcome}",
        comparison=Comparison(
            baseline="main",
            outcome=outcome,
            threshold=0.05,
            estimate=change,
            low=change - 0.02,
            high=change + 0.02,
            detectable=0.05,
            runs=5,
            launches=2,
            rounds=16,
        ),
    )


def _search(draw: random.Random) -> Search:
    shapes_ = [Shape("vllm", "synthetic:llama-3.1-8b", "bfloat16", batch, 128) for batch in BATCHES]
    points = tuple(
        SearchPoint(
            value=shape.batch,
            name=f"batch={shape.batch}",
            meets=shape.tpot_ms <= 35,
            why="" if shape.tpot_ms <= 35 else f"tpot_p99_ms {shape.tpot_ms:.3g} is over 35 ms",
            objective=(cost := shape.joules * (1 + draw.gauss(0, 0.003))),
            low=cost * 0.98,
            high=cost * 1.02,
            latency_ms=shape.tpot_ms,
            rounds=3,
        )
        for shape in shapes_[3:]
    )
    best = min((point for point in points if point.meets), key=lambda point: point.objective or 0)
    return Search(
        test="benchmarks/test_search.py::test_search[vllm-bf16]",
        over="batch",
        objective="joules_per_token",
        unit="J/tok",
        better="lower",
        slo={"tpot_p99_ms": 35.0},
        candidates=BATCHES,
        points=points,
        best=best.value,
        latency="tpot_p99_ms",
        front=tuple(point.value for point in points if point.meets),
        rounds=15,
    )


def _phases(shape: Shape) -> Phases:
    decode = shape.joules * (shape.output - 1) * shape.batch
    prefill = shape.joules * 128 * shape.batch * 0.05
    return Phases(
        test=shape.test,
        outputs=(shape.output // 4, shape.output // 2, shape.output),
        rounds=9,
        prefill=PhasePart(
            tokens=128 * shape.batch,
            joules=prefill,
            joules_per_token=prefill / 128 / shape.batch,
            low=prefill / 135 / shape.batch,
            high=prefill / 121 / shape.batch,
        ),
        decode=PhasePart(
            tokens=(shape.output - 1) * shape.batch,
            joules=decode,
            joules_per_token=shape.joules,
            low=shape.joules * 0.98,
            high=shape.joules * 1.02,
        ),
        whole_joules=(prefill + decode) * 1.004,
        sum_error=-0.004,
        source="measured",
    )


def _phases_of_traffic(shape: Shape) -> Phases:
    return Phases(
        test=shape.test,
        name="traffic",
        method="regression",
        rounds=8,
        windows=320,
        prefill=PhasePart(tokens=40_000, reason="unresolvable: the rounds spend too little time in it"),
        decode=PhasePart(tokens=20_000, joules=1_000.0, joules_per_token=0.05, low=0.045, high=0.055),
        base=BasePart(seconds=30.0, joules=4_500.0, watts=150.0, low=135.0, high=165.0),
        whole_joules=5_600.0,
        sum_error=0.011,
        source="measured",
    )
