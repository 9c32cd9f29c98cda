"""A served engine whose every joule is known: a base, so much a prompt token, so much a decode token.

Requests are prefilled one after the other and decode side by side. What a counter would tell of it comes as windows, as
rounds with ticks, or played on a simulated GPU. Shares no code with what tells the phases apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import exp, sqrt

import numpy as np

from pytest_lem.model.latency import LatencyPass, RequestTimes
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import Round, Served
from pytest_lem.steady_windows import Windows

NS = 1_000_000_000
START_NS = 100 * NS
GRID_S = 0.001
TICKS = 3


@dataclass(frozen=True)
class Truth:
    """What the engine costs: base (W), a prompt token and a decode token (J)."""

    base: float = 300.0
    prefill: float = 0.008
    decode: float = 0.05

    def joules(self, seconds, prompts, tokens):
        return self.base * seconds + self.prefill * prompts + self.decode * tokens


@dataclass(frozen=True)
class Traffic:
    """A pass: when requests come (s), their prompts and answers (tokens), and how long the engine takes for them (s).

    `early` of 1 has the joules of a prefill come a whole prefill before the stamps that the engine tells.
    """

    due: tuple[float, ...]
    prompt: int = 256
    output: int = 64
    prefill_s: float = 0.015
    token_s: float = 0.008
    early: float = 0.0

    @cached_property
    def spans(self):
        """When each request's prefill began, its first and its last token came."""
        free, begun = 0.0, []
        for due in self.due:
            begun.append(max(due, free))
            free = begun[-1] + self.prefill_s
        began = np.array(begun)
        first = began + self.prefill_s
        return began, first, first + self.token_s * (self.output - 1)

    @property
    def steady(self):
        last = self.spans[2]
        return float(last[0]), float(self.due[-1])

    def done(self, at, early=0.0):
        """Prompt tokens and decode tokens done at these instants."""
        began, first, last = self.spans
        shift = early * self.prefill_s
        prompts = sum(
            self.prompt * np.clip((at + shift - a) / (b - a), 0, 1) for a, b in zip(began, first, strict=True)
        )
        if self.output == 1:
            return prompts, np.zeros_like(at)
        parts = zip(first, last, strict=True)
        return prompts, sum((self.output - 1) * np.clip((at - a) / (b - a), 0, 1) for a, b in parts)

    @cached_property
    def curves(self):
        """A fine grid of instants, what the stamps say was done by each, and what really was."""
        grid = np.arange(0, self.spans[2][-1] + 0.5, GRID_S)
        return grid, self.done(grid), self.done(grid, self.early)

    def requests(self):
        """What the engine tells of them."""
        began, first, _ = self.spans
        return tuple(
            RequestTimes(
                index=index,
                due_ms=1e3 * due,
                sent_ms=1e3 * due,
                ttft_ms=1e3 * (ready - due),
                queue_ms=1e3 * (start - due),
                prefill_ms=1e3 * (ready - start),
                gaps_ms=(1e3 * self.token_s,) * (self.output - 1),
            )
            for index, (due, start, ready) in enumerate(zip(self.due, began, first, strict=True))
        )


def _share(at, begin, end):
    return np.clip((at - begin) / max(end - begin, 1e-9), 0, 1)


def poisson(seed=0, *, qps=20.0, seconds=12.0, burstiness=1.0, **changes):
    """Traffic with gamma-distributed gaps; a burstiness of 1 is Poisson's, less comes in bursts."""
    draw = random.Random(seed)
    due, at = [], 0.0
    while (at := at + draw.gammavariate(burstiness, 1 / (qps * burstiness))) < seconds:
        due.append(at)
    return Traffic(tuple(due), **changes)


def closed(concurrency, count, **changes):
    """A closed loop: each of so many users asks again when it is answered."""
    traffic = Traffic((), **changes)
    stay = traffic.token_s * (traffic.output - 1)
    users, free, due = [0.0] * concurrency, 0.0, []
    for _ in range(count):
        due.append(min(users))
        free = max(due[-1], free) + traffic.prefill_s
        users[users.index(due[-1])] = free + stay
    return Traffic(tuple(due), **changes)


@dataclass(frozen=True)
class Noise:
    """What is wrong with the world and the counter.

    Ticks stray by `jitter_s` and are dated `dated_s` off; power strays by `watts`, with a memory of `memory_s`, and
    each round draws `drift` more or less than the others (relative).
    """

    jitter_s: float = 0.002
    dated_s: float = 0.0023
    watts: float = 20.0
    memory_s: float = 0.5
    drift: float = 0.01


NONE = Noise(0, 0, 0, 0.5, 0)


class Session:
    """Rounds of one traffic on one engine."""

    def __init__(self, traffic=None, truth=None, noise=NONE, *, rounds=8, seed=0, tick_s=0.1):
        self.tick_s = tick_s
        self.traffic, self.truth, self.noise, self.count = traffic or poisson(), truth or Truth(), noise, rounds
        self.draw = np.random.default_rng(seed)
        self.begin, self.end = self.traffic.steady
        self.grid, self.known, self.really = self.traffic.curves

    def ticks(self):
        """One round's ticks: when (s) by the meter, and the joules there."""
        tick_s = self.tick_s
        exact = self.draw.uniform(0, tick_s) + np.arange(1, int((self.grid[-1]) / tick_s) - 1) * tick_s
        exact = exact + self.draw.uniform(-self.noise.jitter_s, self.noise.jitter_s, len(exact))
        prompts, tokens = (np.interp(exact, self.grid, each) for each in self.really)
        joules = (1 + self.draw.normal(0, self.noise.drift)) * self.truth.joules(exact, prompts, tokens)
        return exact + self.draw.normal(0, self.noise.dated_s, len(exact)), joules + self._strays(exact)

    def _strays(self, at):
        step = 0.05
        keeps = exp(-step / self.noise.memory_s)
        fresh = self.draw.normal(0, self.noise.watts, int(at[-1] / step) + 2).tolist()
        watts = list(accumulate(fresh, lambda before, now: keeps * before + sqrt(1 - keeps**2) * now))
        return np.interp(at, step * np.arange(len(watts)), step * np.cumsum(watts))

    def windows(self):
        """All rounds as windows of the steady time, made without the package's own way from rounds to windows."""
        return [self._windows() for _ in range(self.count)]

    def _windows(self):
        at, joules = self.ticks()
        inside = (at >= self.begin) & (at <= self.end)
        at, joules = at[inside][::TICKS], joules[inside][::TICKS]
        prompts, tokens = (np.interp(at, self.grid, each) for each in self.known)
        seen = self.end - self.begin
        return Windows(np.diff(at), np.diff(joules), np.diff(prompts), np.diff(tokens), seen, seen, 0.1)

    def rounds(self, **reading):
        """All rounds as the report keeps them."""
        return [self._round(index, reading) for index in range(self.count)]

    def _round(self, index, reading):
        at, joules = self.ticks()
        inside = np.flatnonzero((at >= self.begin) & (at <= self.end))
        told = tuple((START_NS + round(NS * time), float(value)) for time, value in zip(at, joules, strict=True))
        start, end = told[inside[0]][0], told[inside[-1]][0]
        device = {"device": "GPU-0", "kind": "gpu", "meter": "nvml", "method": "counter", "source": "measured"}
        device |= {"joules": float(joules[inside[-1]] - joules[inside[0]]), "ticks": told} | reading
        count, requests = len(self.traffic.due), self.traffic.requests()
        return Round(
            index=index,
            start_ns=start,
            end_ns=end,
            passes=1,
            requests=count,
            prompt_tokens=count * self.traffic.prompt,
            tokens=count * self.traffic.output,
            devices=(DeviceReading(**device),),
            latency=LatencyPass(seconds=self.end, requests=requests),
            served=Served(
                start_ns=START_NS,
                end_ns=START_NS + round(NS * self.grid[-1]),
                requests=count,
                prompt_tokens=count * self.traffic.prompt,
                tokens=count * self.traffic.output,
                prompt_lengths=(self.traffic.prompt,) * count,
                steady=True,
            ),
        )
