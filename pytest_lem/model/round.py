"""One measured window, and what an engine did in it."""

from __future__ import annotations

from pydantic import Field

from pytest_lem.model.frozen import Frozen
from pytest_lem.model.latency import LatencyPass
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.telemetry import DeviceUse


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
