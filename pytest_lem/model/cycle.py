"""One launch of an engine: how it came about, its rounds, and how it ended."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pytest_lem.model.arithmetic import Arithmetic
from pytest_lem.model.frozen import Frozen
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import Round


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
