"""Rounds of simulated launches: what varies between sessions, launches and rounds, and what a change adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from pytest_lem.stats.stopping import stop_reason

Values = NDArray[np.float64]
FEWEST, ROUNDS, PRECISION = 8, 30, 0.015  # rounds of a launch, and when it has enough: the plugin's defaults
BLOCK = 10  # pairs of a duel between relaunches


QUARTILE_OF_NORMAL = 0.6745
QUARTILES = {2.0: 0.8165, 3.0: 0.7649}
"""Upper quartile of Student's t, by its degrees of freedom."""


@dataclass(frozen=True)
class Noise:
    """The noise model of the design, on the log scale; all are SDs or shares.

    `between` is the spread of runs: three quarters of its variance belong to the session, one to the launch. `drift` is
    what 30 rounds drift by; `cv` and `phi` those of rounds (AR(1)); `outliers` the share of rounds that are ×1.3 to ×3.
    `common` is the share of the rounds' variance that both engines of a duel feel (clocks, heat), in the order of time;
    the rest is each engine's own. The design's model says nothing of it; 1, all of it common, is what the goals are
    judged by.

    Three families beside it; the last two have a say in `REST`, a share in the gate's rule. `tails`: degrees of
    freedom of rounds with heavy tails (None: normal) of the same quartiles. `states`: chance and size of a second,
    dearer state that a launch may be in. `cold`: chance and size of what a session's first launch costs beyond others,
    when the host is cold.
    """

    cv: float = 0.05
    between: float = 0.02
    phi: float = 0.5
    drift: float = 0.02
    outliers: float = 0.05
    common: float = 1.0
    tails: float | None = None
    states: tuple[float, float] = (0.0, 0.0)
    cold: tuple[float, float] = (0.0, 0.0)


def autoregressive(rng: np.random.Generator, noise: Noise, n: int) -> Values:
    """`n` values of a stationary AR(1) series with an SD of `cv` (or the same quartiles)."""
    if noise.tails is None:
        shocks = rng.standard_normal(n)
    else:
        shocks = rng.standard_t(noise.tails, n) * QUARTILE_OF_NORMAL / QUARTILES[noise.tails]
    shocks[1:] *= np.sqrt(1 - noise.phi**2)
    return np.asarray(noise.cv * lfilter([1.0], [1.0, -noise.phi], shocks))


def odd(rng: np.random.Generator, noise: Noise, n: int) -> Values:
    """Logs of what outliers add: ×1.3 to ×3, none for most rounds."""
    return np.where(rng.random(n) < noise.outliers, np.log(rng.uniform(1.3, 3.0, n)), 0.0)


def session(rng: np.random.Generator, noise: Noise) -> float:
    """What a session adds to all its launches."""
    return float(rng.normal(0, np.sqrt(0.75) * noise.between))


def launch_offset(rng: np.random.Generator, noise: Noise) -> float:
    """What a launch adds to all its rounds, its state included."""
    chance, size = noise.states
    return float(rng.normal(0, 0.5 * noise.between) + size * (rng.random() < chance))


def slope(rng: np.random.Generator, noise: Noise, n: int) -> Values:
    """A straight drift over `n` rounds that begins at none."""
    return np.asarray(rng.normal(0, noise.drift) * np.arange(n) / (ROUNDS - 1))


def launch(rng: np.random.Generator, noise: Noise, level: float, *, first: bool = True) -> Values:
    """Thirty rounds' costs of one launch at the log cost `level`; `first` in its session, it may be a cold one."""
    chance, size = noise.cold
    cold = size * (rng.random() < chance) if first else 0.0
    logs = level + cold + launch_offset(rng, noise) + slope(rng, noise, ROUNDS)
    return np.asarray(np.exp(logs + autoregressive(rng, noise, ROUNDS) + odd(rng, noise, ROUNDS)))


def abba(n: int) -> tuple[list[int], list[int]]:
    """Where in time the rounds of each side of `n` pairs are: A first in even pairs, B first in odd ones."""
    firsts = [2 * pair + pair % 2 for pair in range(n)]
    return firsts, [2 * pair + 1 - pair % 2 for pair in range(n)]


def block(rng: np.random.Generator, noise: Noise, change: float) -> tuple[Values, Values]:
    """Costs of the pairs of one launch of both sides, A unchanged and B changed by `change` (log)."""
    shared = np.sqrt(noise.common) * autoregressive(rng, noise, 2 * BLOCK) + slope(rng, noise, 2 * BLOCK)
    sides = []
    for places, level in zip(abba(BLOCK), (0.0, change), strict=True):
        own = np.sqrt(1 - noise.common) * autoregressive(rng, noise, 2 * BLOCK)
        logs = level + launch_offset(rng, noise) + (shared + own)[places] + odd(rng, noise, BLOCK)
        sides.append(np.exp(logs))
    return sides[0], sides[1]


def stopped(costs: Values) -> list[float]:
    """The rounds that a launch would have ended after, as the plugin's do: 8 to 30, until they are precise."""
    for n in range(FEWEST, ROUNDS, 2):
        if stop_reason(costs[:n].tolist(), minimum=FEWEST, maximum=ROUNDS, precision=PRECISION):
            return list(costs[:n].tolist())
    return list(costs.tolist())
