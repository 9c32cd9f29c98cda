"""What was measured, from one device's reading up to a measurement. Frozen data, nothing computed here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pytest_lem.model.arithmetic import Arithmetic
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.quantity import Quantity
from pytest_lem.model.specs import EngineSpec, Frozen, ProtocolSpec, WorkloadSpec
from pytest_lem.model.telemetry import DeviceUse

Source = Literal["measured", "estimated"]
DeviceKind = Literal["gpu", "cpu", "ram", "psys"]


class MeterDevice(Frozen):
    """A device that a meter reads: `id` is a GPU's UUID, or a name such as `package-0`, `dram-0`."""

    id: str
    kind: DeviceKind
    name: str = ""


class Edge(Frozen):
    """One edge of a window as the meter saw it, kept raw so that joules can be recomputed.

    `time_ns` (monotonic) is the counter tick, `joules` the counter there, `power_w` the idle power beside it,
    `time_std_ns` and `power_std_w` their standard uncertainties. In a window cut out of traffic the power beside an
    edge is the load's, from tick to tick.
    """

    time_ns: int
    joules: float
    power_w: float
    time_std_ns: float
    power_std_w: float


class DeviceState(Frozen):
    """A GPU at an instant (monotonic ns): SM clock (MHz), temperature (°C), why it was throttled; null: not told."""

    time_ns: int
    sm_clock_mhz: int | None = None
    temperature_c: int | None = None
    throttle_reasons: tuple[str, ...] = ()


class DeviceReading(Frozen):
    """Joules of one device over one window.

    `joules` is gross energy between the window's start and end, `std` its standard uncertainty (J, k = 1); null with
    `reason` where it could not be read. `source` says measured or estimated, `method` how: `counter`,
    `power-integral`, `rapl`, or an estimate's model. `faults` are guards that make the round invalid; `notes` are
    remarks that do not. `ticks` are all readings of the counter that were taken while the engine worked, as (monotonic
    ns, J since the first): under traffic only. `before` and `after` are a GPU's state just outside of the window, where
    asking for it disturbs nothing: its clock may have fallen since the work.
    """

    device: str
    kind: DeviceKind
    meter: str
    method: str
    source: Source | None
    joules: float | None
    std: float | None = None
    reason: str | None = None
    head: Edge | None = None
    tail: Edge | None = None
    ticks: tuple[tuple[int, float], ...] = ()
    before: DeviceState | None = None
    after: DeviceState | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class RequestTimes(Frozen):
    """Token times of `count` requests that got their tokens together (static batching), or of one.

    `ttft_ms`: first token since the request was due (the pass's start, where all come together). `gaps_ms`: the time
    between consecutive tokens, output_tokens − 1 of them. `queue_ms`, `prefill_ms` and `decode_ms` lie between the
    engine's own stamps (queued, scheduled, first token, last token), `e2e_ms` from due to answered by the engine
    process's clock; null where the engine does not tell. `index` is the request's place in its pass; `due_ms` and
    `sent_ms` are when it was due and when it was sent, after the start of the run.
    """

    ttft_ms: float
    gaps_ms: tuple[float, ...] = ()
    queue_ms: float | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    e2e_ms: float | None = None
    count: int = 1
    index: int | None = None
    due_ms: float | None = None
    sent_ms: float | None = None

    @property
    def late_ms(self) -> float | None:
        """How long after it was due the request was sent; None where the engine does not tell."""
        return None if self.sent_ms is None or self.due_ms is None else self.sent_ms - self.due_ms

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first; None for a single token."""
        return sum(self.gaps_ms) / len(self.gaps_ms) if self.gaps_ms else None


class LatencyPass(Frozen):
    """One pass with token hooks: its length (s) and its requests' token times.

    It ran beside the measured round; under traffic it is the pass that the round was cut out of.
    `passes` runs were hooked back to back; `seconds` is the mean length of one.
    """

    seconds: float
    passes: int = 1
    requests: tuple[RequestTimes, ...] = ()


class Served(Frozen):
    """The whole pass of traffic out of which a round's window was cut.

    `start_ns` and `end_ns` are the child's stamps, from the first moment of the run to the last answer. `requests`,
    `prompt_tokens` and `tokens` are all of the pass, `prompt_lengths` each request's prompt, by its index. `devices`
    are the joules of the whole pass, read in the idle time around it. `steady` says whether the round is the steady
    part of the pass, or all of it. `idle_share` is the share of the round in which no request was in flight; null where
    the engine does not tell.
    """

    start_ns: int
    end_ns: int
    requests: int
    prompt_tokens: int
    tokens: int
    prompt_lengths: tuple[int, ...] = ()
    devices: tuple[DeviceReading, ...] = ()
    steady: bool
    idle_share: float | None = None

    @property
    def seconds(self) -> float:
        """Length of the pass in seconds."""
        return (self.end_ns - self.start_ns) / 1e9


class RankRun(Frozen):
    """What one rank did in a round of an engine that several processes share.

    `device` is its GPU's UUID, or `cpu`. It worked from `start_ns` to `end_ns` (monotonic), between the barriers at
    both edges of the round's window. `tokens` are those that it saw made: ranks that share a model have a part in each
    of them, so that they are never added up. A data parallel replica has `requests`, those that it answered, and their
    `tokens` are its own: added up they are the round's. `weights_bytes` is what it holds of the weights,
    `resident_bytes` its process's peak of the host's memory in the round, `allocated_bytes` and `reserved_bytes` the
    peaks on its GPU; null: not told.
    """

    rank: int
    device: str
    start_ns: int
    end_ns: int
    tokens: int
    weights_bytes: int
    resident_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    requests: int | None = None


class Round(Frozen):
    """One measured window: `passes` runs of the workload back to back.

    `start_ns` and `end_ns` are the child's own stamps on the host's monotonic clock, the end after its device was
    synchronised. `tokens` are new output tokens, `prompt_tokens` the prompts' real tokens (padding never counts),
    both summed over all passes and requests. `valid` is false where a guard spoke, with `reason`. `counters` are the
    engine's own, over this round: `cached_tokens` (prompt tokens out of the prefix cache), `preemptions`,
    `kv_cache_usage` (peak share), `kv_cache_bytes`, `weights_bytes`, `engine_steps`, `engine_flops`,
    `engine_read_bytes`, `engine_write_bytes`, `padding_tokens` (computed to fill prompts up), `wasted_tokens` (computed
    beyond what requests asked for), `draft_tokens` and `accepted_tokens` (of assisted generation); an engine gives
    those that it has. `notes` are remarks that leave it valid. `ranks` tell of each process of an engine that several
    share: joules stay those of devices, tokens those of requests. `use` says how each GPU was used, as it told itself
    while the engine worked; () where telemetry was off.

    Under traffic a round is cut out of one pass: the steady window between two counter ticks. Requests and tokens that
    lie across its edges count by their part inside, so that they are no whole numbers; `served` tells of the whole
    pass, `counters` and `latency` too are those of all of it.
    """

    index: int
    start_ns: int
    end_ns: int
    passes: int
    requests: int | float
    prompt_tokens: int | float
    tokens: int | float
    valid: bool = True
    reason: str | None = None
    devices: tuple[DeviceReading, ...] = ()
    counters: dict[str, float] = Field(default_factory=dict)
    latency: LatencyPass | None = None
    served: Served | None = None
    notes: tuple[str, ...] = ()
    ranks: tuple[RankRun, ...] = ()
    use: tuple[DeviceUse, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the window in seconds."""
        return (self.end_ns - self.start_ns) / 1e9


class DeviceMemory(Frozen):
    """Peak memory of the engine on one GPU in bytes: what its tensors took and what its allocator reserved."""

    device: str
    allocated_bytes: int | None
    reserved_bytes: int | None


class Gap(Frozen):
    """The wait before an engine's start: `asked` as `--lem-gap` gave it, how long it took, and why it `ended`.

    `temperature_c` (°C) and `power_w` (W) are the leased GPUs' at its end, by UUID, as far as they tell.
    """

    asked: str
    seconds: float
    ended: Literal["elapsed", "cool", "cap", "no-gpu"]
    temperature_c: dict[str, float] = Field(default_factory=dict)
    power_w: dict[str, float] = Field(default_factory=dict)


class Recorded(Frozen):
    """A value of the user's own metric, as `lem_energy.record` took it: the metric's name, unit, and better way."""

    metric: str
    value: float
    unit: str = ""
    better: Literal["lower", "higher"]


class Cycle(Frozen):
    """One launch of an engine: its warm-up and its rounds.

    `steady` is false when warm-up was cut at its cap, null when nothing was warmed up (a window). `stopped` says why
    the rounds ended: `precision`, `forecast`, `rounds`, `max-rounds`, `max-seconds`, `interrupted`, `failed`. `gap` is
    the wait before the engine's start, on the first measurement of that engine. `build_seconds` is the part of
    `load_seconds` in which an engine was built, null where none is, `build_devices` what meters read meanwhile.
    `seconds` is all of it from preparing
    the work to the last round, without the engine's start. `lanes` counts the engines that may have run on this host
    at the same time: above 1 the host's joules are not this engine's alone. `recorded` are the user's own values.
    `work` says how its work was made: what was cut, filled up or left out of the data, groups and their padding; of an
    open loop, its `arrivals` as they were drawn. `arithmetic` are the FLOPs of one pass; null for a window. `notes` say
    what a reader has to know of how it was done.
    """

    index: int
    launch: str
    gpus: tuple[str, ...] = ()
    load_seconds: float | None = None
    build_seconds: float | None = None
    build_devices: tuple[DeviceReading, ...] = ()
    warmup_rounds: tuple[Round, ...] = ()
    steady: bool | None = None
    rounds: tuple[Round, ...] = ()
    memory: tuple[DeviceMemory, ...] = ()
    stopped: str = ""
    gap: Gap | None = None
    seconds: float | None = None
    lanes: int = 1
    recorded: tuple[Recorded, ...] = ()
    work: dict[str, Any] = Field(default_factory=dict)
    arithmetic: Arithmetic | None = None
    notes: tuple[str, ...] = ()

    @property
    def cut_short(self) -> bool:
        """Whether something ended it too early: its rounds are kept, and count only where there are no others."""
        return self.stopped in ("interrupted", "failed")


class MeterRecord(Frozen):
    """What became of one meter: `used` with its devices, or not, with the reason."""

    name: str
    used: bool
    source: Source | None = None
    devices: tuple[MeterDevice, ...] = ()
    reason: str | None = None


class MetricValue(Frozen):
    """One metric of a measurement: `low` and `high` bound a 95 % interval, `n` counts what it rests on.

    `covers` says what the interval speaks for (`this session only`, `cycles`). A null `value` has a `reason`. `shared`
    is true for joules of a host on which other lanes of the run were measuring: they are those of all its engines.
    """

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    n: int = 0
    source: Source | None = None
    covers: str | None = None
    reason: str | None = None
    shared: bool = False


class EngineRecord(Frozen):
    """The engine as asked for and as it really ran (read from live objects by the engine's adapter)."""

    requested: EngineSpec
    observed: dict[str, Any] = Field(default_factory=dict)


class Measurement(Frozen):
    """Everything one call of `lem_energy.measure` found; `engine` and `workload` are null for a plain window.

    Metrics are attributes too: `measurement.joules_per_token` is a Quantity, and raises Unavailable (with the reason)
    when it could not be measured; `.get(key)` gives None instead. `known_as` is the experiment's name in baselines,
    where the test gives it one that outlives a rename.
    """

    id: str
    test: str
    name: str = ""
    known_as: str = ""
    engine: EngineRecord | None = None
    workload: WorkloadSpec | None = None
    protocol: ProtocolSpec
    meters: tuple[MeterRecord, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    metrics: dict[str, MetricValue] = Field(default_factory=dict)

    def quantity(self, key: str) -> Quantity:
        """The metric `key`. Raises Unavailable with the reason, or KeyError for a name that is no metric."""
        found = self.metrics.get(key)
        if found is None:
            if key not in METRICS:
                raise KeyError(key)
            raise Unavailable(key, "it was not part of this measurement")
        if found.value is None:
            raise Unavailable(key, found.reason or "no reason was recorded")
        return Quantity(
            found.value,
            key=key,
            unit=found.unit,
            low=found.low,
            high=found.high,
            n=found.n,
            source=found.source or "measured",
            covers=found.covers,
        )

    def get(self, key: str) -> Quantity | None:
        """The metric `key`, or None where it could not be measured. Raises KeyError for a name that is no metric."""
        try:
            return self.quantity(key)
        except Unavailable:
            return None

    def __getattr__(self, name: str) -> Quantity:
        if name in METRICS or name in self.metrics:
            return self.quantity(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
