"""What a run is about to do, and how long that takes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pytest_lem.model.specs import ProtocolSpec

LOAD_SECONDS = 20.0
"""What an engine's start is taken for where none is known: between a small model's 3 s and a compiled vLLM's 120 s."""
EDGES = 0.4  # seconds of idling beside a round
HOOKED = 1 / 8  # hooked passes beside a round, as a share of it


@dataclass(frozen=True)
class Step:
    """One item: its experiment, the launch it needs (None: no engine), and what it took before (s), where known."""

    experiment: str
    launch: Hashable | None
    guess: float
    seconds: float | None = None
    load_seconds: float | None = None


@dataclass(frozen=True)
class Pause:
    """What passes before an engine's start (s); `at_most`: until something is so, and no longer than this."""

    seconds: float
    at_most: bool = False


@dataclass(frozen=True)
class Plan:
    """What is ahead. `seconds` is the whole run's, on `lanes` equally long lanes; `known` items took so `before`.

    `items` and `experiments` are all of them, `cycles` the fewest and the most that are left of an experiment. Of a run
    that is continued, `done` items are measured already, and `failed` ones are not tried again. `starts_known` is false
    where the time of an engine's start is a guess. `cooling` (s) is the most that gaps of unknown length may add to
    `seconds`.
    """

    items: int
    experiments: int
    starts: int
    seconds: float
    known: int
    cycles: tuple[int, int] = (1, 1)
    lanes: int = 1
    done: int = 0
    failed: int = 0
    starts_known: bool = True
    before: str = "as they took before"
    cooling: float = 0.0

    @property
    def line(self) -> str:
        """The plan in one line."""
        parts = [f"{_count(self.items, 'test')} of {_count(self.experiments, 'experiment')}{self._in_cycles()}"]
        parts += [f"{self.done} measured already"] if self.done else []
        parts += [f"{self.failed} failed before"] if self.failed else []
        parts += [_count(self.starts, "engine start")]
        parts += [f"{self.lanes} lanes"] if self.lanes > 1 else []
        parts += [f"about {_duration(self.seconds)}"]
        parts += [f"and at most {_duration(self.cooling)} of cooling"] if self.cooling else []
        return f"{', '.join(parts)} ({self._grounds()})"

    def _in_cycles(self) -> str:
        fewest, most = self.cycles
        if most == 1:
            return ""
        return f" in {most} cycles" if fewest == most else f" in {fewest} to {most} cycles"

    def _grounds(self) -> str:
        left = self.items - self.done - self.failed
        if not left:
            return "nothing is left to measure"
        if not self.known:
            return "a guess"
        if self.known < left:
            return f"{self.known} of {left} {self.before}, the rest a guess"
        return self.before if self.starts_known else f"{self.before}, engine starts a guess"


def plan(
    steps: Sequence[Step],
    *,
    lanes: int = 1,
    done: Sequence[str] = (),
    failed: Sequence[str] = (),
    before: str = Plan.before,
    gap: Pause | None = None,
) -> Plan:
    """The plan of `steps`, those that are left to measure, in their order; `before` says which times are known.

    `done` and `failed` name the experiments of items that are not measured again, one an item.

    An engine is started for each launch, wherever it stands: the run's order keeps its items together. A `gap` is made
    before each start but the first of a lane.
    """
    loads = {step.launch: step.load_seconds for step in steps if step.launch is not None}
    seconds = sum(step.guess if step.seconds is None else step.seconds for step in steps)
    seconds += sum(LOAD_SECONDS if load is None else load for load in loads.values())
    cycles = Counter(step.experiment for step in steps if step.launch is not None).values()
    pauses = max(0, len(loads) - lanes) * (gap.seconds if gap else 0.0)
    open_ended = gap is not None and gap.at_most
    return Plan(
        items=len(steps) + len(done) + len(failed),
        experiments=len({*(step.experiment for step in steps), *done, *failed}),
        starts=len(loads),
        seconds=(seconds if open_ended else seconds + pauses) / lanes,
        known=sum(step.seconds is not None for step in steps),
        cycles=(min(cycles, default=1), max(cycles, default=1)),
        lanes=lanes,
        done=len(done),
        failed=len(failed),
        starts_known=None not in loads.values(),
        before=before,
        cooling=pauses / lanes if open_ended else 0.0,
    )


def expected_seconds(protocol: ProtocolSpec) -> float:
    """How long an item of this protocol takes that needs no more rounds than the fewest."""
    warmup = max(protocol.warmup_seconds, protocol.warmup_rounds * (protocol.round_seconds + EDGES))
    each = protocol.round_seconds * (1 + (HOOKED if protocol.latency else 0)) + EDGES
    seconds = min(warmup, protocol.warmup_cap_seconds) + (protocol.rounds or protocol.min_rounds) * each
    return seconds if protocol.max_seconds is None else min(seconds, protocol.max_seconds)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
