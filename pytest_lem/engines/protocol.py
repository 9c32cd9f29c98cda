"""The messages of an engine's process as the parent sees them: JSON lines, validated here and nowhere else.

The child's half is `engines/child/wire.py`. Every command has a number; its answer carries the same one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from pytest_lem.model.cycle import DeviceMemory
from pytest_lem.model.latency import RequestTimes
from pytest_lem.model.round import RankRun
from pytest_lem.model.specs import Frozen


class Hello(Frozen):
    """The child's first line: the protocol it speaks, and the interpreter it runs under."""

    type: Literal["hello"]
    protocol: int
    pid: int
    python: str


class Progress(Frozen):
    """One line for the user about a long step; `id` is the command it belongs to."""

    type: Literal["progress"]
    id: int
    text: str


class Done(Frozen):
    """A command succeeded."""

    type: Literal["done"]
    id: int
    value: dict[str, Any] = Field(default_factory=dict)


class Failed(Frozen):
    """A command failed: `kind` as in `EngineError.kind`; `fatal` means that the engine must not be used again.

    `rank` is the one that failed, where several share the engine.
    """

    type: Literal["failed"]
    id: int
    kind: Literal["start", "died", "memory", "usage", "protocol"]
    message: str
    fatal: bool = True
    rank: int | None = None


Message = Annotated[Hello | Progress | Done | Failed, Field(discriminator="type")]
MESSAGE: TypeAdapter[Hello | Progress | Done | Failed] = TypeAdapter(Message)


class Loaded(Frozen):
    """Answer to `load`: the configuration that really runs, read from live objects."""

    observed: dict[str, Any]


class Tokenized(Frozen):
    """Answer to `tokenize`: the ids of each text, by the model's own tokenizer."""

    token_ids: list[list[int]]


class Prepared(Frozen):
    """Answer to `prepare`: the real tokens of each request's prompt, in order; padding never counts."""

    prompt_tokens: tuple[int, ...]


class RunReply(Frozen):
    """Answer to `run`: stamps (monotonic ns), output tokens over all passes, the last pass's token ids.

    `counters` are the engine's own over all passes, named as in `Round.counters`. `ranks` tell what each rank did,
    where several share the engine.
    """

    start_ns: int
    end_ns: int
    tokens: int
    token_ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...] | None = None
    request_times: tuple[RequestTimes, ...] = ()
    memory: tuple[DeviceMemory, ...] = ()
    counters: dict[str, float] = Field(default_factory=dict)
    ranks: tuple[RankRun, ...] = ()


class PassResult(Frozen):
    """What `passes` runs of the workload back to back gave.

    `start_ns` and `end_ns` are the child's stamps on the host's monotonic clock, the end after its device was
    synchronised. `tokens` (new output tokens), `prompt_tokens` (real ones, padding never counts) and `requests` are
    sums over all passes. `request_times` is filled by hooked runs only. `memory` is the peak of this run per GPU, empty
    on a CPU. `token_ids` and `texts` are the new tokens of the last pass, one entry a request; `texts` is None where
    the model has no tokenizer. `counters` are the engine's own over all passes, named as in `Round.counters`. `ranks`
    tell what each rank did, where several share the engine: each makes all of `tokens`, none of them its own, but for
    replicas, which have `requests` of their own.
    """

    start_ns: int
    end_ns: int
    passes: int
    tokens: int
    prompt_tokens: int
    requests: int
    request_times: tuple[RequestTimes, ...] = ()
    memory: tuple[DeviceMemory, ...] = ()
    counters: dict[str, float] = Field(default_factory=dict)
    token_ids: tuple[tuple[int, ...], ...] = ()
    texts: tuple[str, ...] | None = None
    ranks: tuple[RankRun, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the run in seconds."""
        return (self.end_ns - self.start_ns) / 1e9
