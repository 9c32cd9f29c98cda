"""The ids of experiments: `[<user's own>-]<backend>[-<model>]-<precision>[-<options>]-b<N>-c<N>`.

No part holds a `-`, so an id is read from its right end; `options` joins its words by `_`. A model and the options are
named where a test has several of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_lem.campaign.grid import LOAD_AXES, Point
from pytest_lem.model.data import DataSpec
from pytest_lem.model.decoding import DecodingSpec
from pytest_lem.model.lengths import Lengths
from pytest_lem.model.precision import PRECISION_IDS
from pytest_lem.model.presets import PRESETS
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.traffic import TrafficSpec

PREFIXES = {
    "gpus": "gpus",
    "prompt_tokens": "in",
    "output_tokens": "out",
    "target_qps": "qps",
    "seed": "seed",
    "requests": "n",
    "max_tokens_per_batch": "most",
}
ENGINE_WORDS = ("device", "gpus")
LOAD_WORDS = tuple(name for name in (*LOAD_AXES, "seed") if name != "batch")


@dataclass(frozen=True)
class Parts:
    """An id taken apart: precision as ids write it, options as words; None or empty for what it does not name."""

    own: str
    backend: str
    model: str | None
    precision: str
    options: tuple[str, ...]
    batch: int | None
    cycle: int


def parse(text: str, backends: Collection[str]) -> Parts:
    """Read an id from its right end. `backends` are the engines known. Raises ValueError for what is no id of ours."""
    parts = text.split("-")
    slugs = {slug(backend) for backend in backends}
    try:
        cycle = _count("c", parts.pop())
        batch = _count("b", parts.pop()) if re.fullmatch(r"b\d+", parts[-1]) else None
        options = () if parts[-1] in PRECISION_IDS.values() else tuple(parts.pop().split("_"))
        precision = parts.pop()
        model = None if parts[-1] in slugs else parts.pop()
        backend = parts.pop()
    except IndexError:
        raise ValueError(f"{text!r} is no id of an experiment") from None
    if precision not in PRECISION_IDS.values() or backend not in slugs:
        raise ValueError(f"{text!r} is no id of an experiment")
    return Parts("-".join(parts), backend, model, precision, options, batch, cycle)


def slug(model: str) -> str:
    """A model's name as an id part: `synthetic:llama-3.2-1b` → `llama_3.2_1b`."""
    last = model.removeprefix("synthetic:").rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[^A-Za-z0-9.]+", "_", last) or "_"


class Names:
    """The id parts of one test's points; two points that differ have different ones."""

    def __init__(self, points: Sequence[Point], backends: Collection[str]) -> None:
        self._backends = slugs(_distinct(point.setup["backend"] for point in points), ())
        self._models = slugs(
            _distinct(point.setup["model"] for point in points), {slug(backend) for backend in backends}
        )
        self._options: dict[str, dict[str, int]] = {}
        for point in points:
            known = self._options.setdefault(point.setup["backend"], {})
            known.setdefault(repr(point.options), len(known))
        several = {name for name in ENGINE_WORDS if len(_distinct(point.setup[name] for point in points)) > 1}
        loads = {name: _distinct(point.load.get(name) for point in points) for name in LOAD_WORDS}
        several |= {name for name, values in loads.items() if len(values) > 1}
        self._several = several
        self._words = {name: _apart(name, values) for name, values in loads.items() if len(values) > 1}
        self._prompts = _distinct(point.load.get("prompts") for point in points)
        self._protocols: dict[str, int] = {}
        for point in points:
            self._protocols.setdefault(repr(point.protocol), len(self._protocols))

    def engine(self, point: Point) -> tuple[str, ...]:
        """Backend, model, precision."""
        model = [self._models[point.setup["model"]]] if len(self._models) > 1 else []
        return (self._backends[point.setup["backend"]], *model, PRECISION_IDS[point.setup["precision"]])

    def engine_words(self, point: Point) -> tuple[str, ...]:
        """What tells its engine from the test's others beside those three."""
        known = self._options[point.setup["backend"]]
        numbered = [f"o{known[repr(point.options)]}"] if len(known) > 1 else []
        return (*numbered, *(word(name, point.setup[name]) for name in ENGINE_WORDS if name in self._several))

    def load_words(self, point: Point) -> tuple[str, ...]:
        """What tells its workload from the test's others beside the batch."""
        told = [self._words[name][point.load[name]] for name in LOAD_WORDS if name in self._several]
        prompts = [f"p{self._prompts.index(point.load['prompts'])}"] if len(self._prompts) > 1 else []
        return (*told, *prompts)

    def protocol_words(self, point: Point) -> tuple[str, ...]:
        """What tells its own protocol from those of the test's other experiments."""
        return (f"r{self._protocols[repr(point.protocol)]}",) if len(self._protocols) > 1 else ()


def word(name: str, value: Any) -> str:
    """A value as a word of the options part: `in256`, `qps2.5`, `cpu`; a minus is an `m`."""
    text = _short(name, value).lower().removesuffix(".0").replace("+", "").replace("-", "m").replace("_", "")
    return f"{PREFIXES.get(name, '')}{text}"


def _apart(name: str, values: Sequence[Any]) -> dict[Any, str]:
    """The word of each value of one keyword; those that would be one are numbered."""
    plain = [word(name, value) for value in values]
    alike = {text for text in plain if plain.count(text) > 1}
    numbered = [f"{text}no{index}" if text in alike else text for index, text in enumerate(plain)]
    return dict(zip(values, numbered, strict=True))


def _short(name: str, value: Any) -> str:
    """What a value is called: a number by itself, a distribution or some traffic by its kind and first number."""
    if isinstance(value, Lengths):
        return f"{value.distribution}{value.mean or value.high or len(value.histogram):g}"
    if isinstance(value, TrafficSpec):
        number = value.qps or value.concurrency
        return value.arrivals if number is None else f"{value.arrivals}{number:g}"
    if isinstance(value, DataSpec):
        last = value.source.rpartition(":")[2].rpartition("/")[2].partition(".")[0]
        return re.sub(r"[^A-Za-z0-9]+", "", last) or name
    if isinstance(value, DecodingSpec):
        named = (preset for preset, fields in PRESETS.items() if DecodingSpec.model_validate(fields) == value)
        return next(named, "decoding")
    if isinstance(value, ServiceLevel):
        return "slo"
    return str(value)


def slugs(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Each name's id part; names that only differ in their folders, or their kind, are told apart by a number."""
    found: dict[str, str] = {}
    used = set(taken)
    for name in names:
        short = slug(name)
        free, number = short, 1
        while free in used:
            number += 1
            free = f"{short}_no{number}"
        used.add(free)
        found[name] = free
    return found


def _distinct(values: Iterable[Any]) -> list[Any]:
    # The same object many times is the common case, and prompts are long: compare what is not the same object only.
    return list(dict.fromkeys({id(value): value for value in values}.values()))


def _count(letter: str, part: str) -> int:
    if not re.fullmatch(rf"{letter}\d+", part):
        raise ValueError(f"{part!r} is no part of an experiment's id: expected {letter} and a number")
    return int(part[1:])
