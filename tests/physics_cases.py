"""The cases over which the GPU meter is judged: each draws GPUs and a piece of work, as an H100 may behave.

Idle 72 to 135 W, load 300 to 700 W in bursts of 25 to 100 % duty. A case adds one difficulty to that; `everything` adds
them all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from simulated_counter import CounterSpec, Ticks
from simulated_gpu import GpuSpec, SimulatedGpu
from simulated_power import Idle

PERIODS_S = (0.1, 0.1, 0.04, 0.0633, 0.15, 0.25)
"""How long bursts are apart; twice 100 ms, the counter's own tick, which is the worst."""
HOT_LAG_S = 0.02
GLOW_W = (10.0, 40.0)
OUT_OF_STEP_S = (0.0433, 0.0577, 0.0633, 0.0707, 0.0866, 0.1407, 0.1771)
"""Periods whose first harmonics all beat against those of a 100 ms tick at least once a second (see `beats`)."""


def beats(period_s: float, tick_s: float, harmonics: int = 3) -> float:
    """The slowest beat (Hz) of the first `harmonics` of bursts and tick against each other.

    A counter that sees a part of its tick errs alike in all ticks of a window that is shorter than a beat.
    """
    orders = range(1, harmonics + 1)
    return min(abs(m / period_s - n / tick_s) for m in orders for n in orders)


@dataclass(frozen=True)
class Load:
    """One GPU's share of the work: bursts of `extra_w` above idle."""

    extra_w: float
    duty: float
    period_s: float


@dataclass(frozen=True)
class Draw:
    """GPUs, the load that the work puts on each, and the work's length.

    `hot`: each round follows a few milliseconds after half a second of the same work, as a round follows a pass with
    token hooks; otherwise it follows the last round's tail.
    """

    gpus: tuple[SimulatedGpu, ...]
    loads: tuple[Load, ...]
    seconds: float
    hot: bool = False


@dataclass(frozen=True)
class Case:
    """What may vary in a draw; all lengths in seconds. The ranges are drawn from evenly, `tau_s` by its logarithm.

    `hot` is the share of draws whose rounds begin right after work. Their counters are at most `HOT_LAG_S` behind: an
    H100 shows no more than 10 ms, and a longer wait for the head would cost every round its time.
    """

    name: str
    says: str
    tick_s: float = 0.1
    lag_s: float = 0.0
    jitter_s: float = 0.0
    slow: float = 1.0
    part: tuple[float, float] = (1.0, 1.0)
    duty: tuple[float, float] = (0.25, 1.0)
    periods_s: tuple[float, ...] = PERIODS_S
    glow_w: tuple[float, float] = (0.0, 0.0)
    tau_s: tuple[float, float] = (0.05, 2.0)
    drift_w_per_s: float = 0.0
    wave_w: float = 0.0
    gpus: tuple[int, int] = (1, 1)
    hot: float = 0.5

    @property
    def even(self) -> bool:
        """Whether the counter weighs its tick evenly."""
        return self.part == (1.0, 1.0)

    def draw(self, seed: int, seconds: float) -> Draw:
        """One draw: GPUs that have not been touched, and work of `seconds` up to one tick more."""
        rng = random.Random(f"{self.name} {seconds} {seed}")
        hot = rng.random() < self.hot
        pairs = [self._gpu(rng, index, hot) for index in range(rng.randint(*self.gpus))]
        length = seconds + rng.uniform(0, 0.1)
        return Draw(tuple(gpu for gpu, _ in pairs), tuple(load for _, load in pairs), length, hot)

    def _gpu(self, rng: random.Random, index: int, hot: bool) -> tuple[SimulatedGpu, Load]:
        base = rng.uniform(72, 135)
        spec = GpuSpec(
            self._counter(rng, hot),
            power_ticks=Ticks(0.1, rng.uniform(0, 0.1)),
            idle=self._idle(rng, base),
            glow_w=rng.uniform(*self.glow_w),
            glow_tau_s=self.tau_s[0] * (self.tau_s[1] / self.tau_s[0]) ** rng.random(),
            slow=self.slow,
        )
        gpu = SimulatedGpu(spec, seed=rng.randrange(2**32), uuid=f"GPU-simulated-{index}")
        return gpu, Load(rng.uniform(300, 700) - base, rng.uniform(*self.duty), rng.choice(self.periods_s))

    def _counter(self, rng: random.Random, hot: bool) -> CounterSpec:
        part = rng.uniform(*self.part)
        return CounterSpec(
            Ticks(self.tick_s, rng.uniform(0, self.tick_s), self.jitter_s, seed=rng.randrange(2**32)),
            lag_s=rng.uniform(0, min(self.lag_s, HOT_LAG_S) if hot else self.lag_s),
            part=part,
            part_from=rng.uniform(0, 1 - part),
            offset_j=rng.uniform(1e5, 1e8),
        )

    def _idle(self, rng: random.Random, base: float) -> Idle:
        return Idle(
            base,
            drift_w_per_s=rng.uniform(-1, 1) * self.drift_w_per_s,
            wave_w=rng.uniform(0, 1) * self.wave_w,
            wave_period_s=rng.uniform(4, 20),
            wave_phase=rng.uniform(0, 6.28),
        )


_HARD = Case(
    "everything",
    "lag, jitter, decay and drift at once",
    lag_s=0.05,
    jitter_s=2e-3,
    glow_w=GLOW_W,
    drift_w_per_s=0.5,
    wave_w=2.0,
)
_PART = Case("part", "counter sees 25 to 75 % of each tick, steady work", part=(0.25, 0.75), duty=(1.0, 1.0))
CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("even", "even counter, bursts of any duty and period"),
        Case("even-20ms", "even counter that ticks every 20 ms", tick_s=0.02),
        Case("even-50ms", "even counter that ticks every 50 ms", tick_s=0.05),
        Case("from-idle", "every round follows a tail", hot=0.0),
        Case("after-work", "every round begins 2 to 10 ms after 0.5 s of the same work", hot=1.0),
        Case("lag", "counter up to 50 ms behind", lag_s=0.05),
        Case("jitter", "ticks up to 2 ms early or late", jitter_s=2e-3),
        Case("slow", "counter calls twice as slow (6 ms, p99 34 ms)", slow=2.0),
        Case("drift", "idle drifts by up to 0.5 W/s and waves by up to 2 W", drift_w_per_s=0.5, wave_w=2.0),
        Case(
            "decay",
            "steady work, then 10 to 40 W decay (τ 0.05 to 2 s)",
            glow_w=GLOW_W,
            duty=(1.0, 1.0),
        ),
        Case("decay-bursts", "the same after bursts of any duty", glow_w=GLOW_W),
        Case("gpus", "two to four GPUs, each with its own ticks", gpus=(2, 4)),
        _HARD,
        _PART,
        replace(
            _PART,
            name="part-bursts",
            says="the same, bursts out of step with the tick",
            duty=(0.25, 1.0),
            periods_s=OUT_OF_STEP_S,
        ),
        replace(
            _HARD,
            name="part-everything",
            says="the same with lag, jitter, decay and drift",
            part=_PART.part,
            periods_s=OUT_OF_STEP_S,
        ),
        replace(
            _PART,
            name="part-41ms",
            says="the same, bursts of 41 ms every 100 ms, in step with the tick",
            duty=(0.41, 0.41),
            periods_s=(0.1,),
        ),
    )
}
