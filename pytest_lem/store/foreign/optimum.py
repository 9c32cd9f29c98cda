"""optimum-benchmark's reports: kWh → J, seconds → ms, MB → B, and what its energy counts.

Its numbers are of one call of `generate` on a batch. Throughput is of the decode phase alone, so tokens per second of
the whole call are computed from its parts: volume = throughput × mean latency, as it computed them the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_lem.model.foreign import ForeignRow
from pytest_lem.model.precision import PRECISION_IDS
from pytest_lem.store.foreign.optimum_file import Config, Energy, Latency, Target
from pytest_lem.store.foreign.optimum_values import energies, known, memory, on_gpu, rates, times

TOOL = "optimum-benchmark"
MEANS = (
    "energy is CodeCarbon's of one call: CPU, memory and GPUs of the whole machine, idle power included",
    "GPU joules are of NVML's counter; CPU and memory may be CodeCarbon's model, so they are marked estimated",
    "time and energy are of different calls, and no interval is kept: mean power and ± are absent",
)
_MOST = 1e12
_WHOLE = 0.01  # how far from a whole number a count may lie that was worked out from rounded means


@dataclass(frozen=True)
class _Work:
    """What one call brings: `batch` requests of `tokens` new tokens each, either None where it cannot be told."""

    batch: int | None
    tokens: int | None
    beams: int | None

    @property
    def output(self) -> int | None:
        """Output tokens of a call, for its users: what beams threw away is not among them."""
        return self.batch * self.tokens if self.batch and self.tokens else None


def optimum_row(targets: Mapping[str, Target], config: Config, name: str) -> ForeignRow:
    """The report as one row: what generates text, or else its one forward or other call."""
    work = _work(targets, config)
    whole = _whole(targets)
    energy, latency = whole.energy, whole.latency
    prefill, decode = targets.get("prefill", Target()).latency, targets.get("decode", Target()).latency
    found = energies(energy, work.batch, work.output) | rates(latency, work.batch, work.output) | memory(whole.memory)
    found |= times("ttft", prefill, 1.0)
    gaps = work.tokens - 1 if work.tokens else 0
    found |= times("tpot", decode, 1.0 / gaps) if gaps else {}
    load = (targets.get("load_model") or targets.get("load") or Target()).latency
    found |= {"load_seconds": known("load_seconds", load.mean, load.count)} if load else {}
    tokens = f"{config.whole('input_shapes', 'sequence_length') or '?'} + {work.tokens} tokens" if work.tokens else ""
    return ForeignRow(
        name=config.name or name,
        engine=config.backend.name,
        model=config.backend.model or "",
        precision=PRECISION_IDS.get(config.backend.dtype or "", config.backend.dtype or ""),
        load=f"batch {work.batch}" if work.batch else "",
        tokens=tokens,
        device=_device(config, energy),
        metrics=found,
        notes=_notes(work, energy),
    )


def _whole(targets: Mapping[str, Target]) -> Target:
    """All of one call; up to 0.4 it is told in its two parts only."""
    for key in ("generate", "forward", "call"):
        if key in targets:
            return targets[key]
    prefill, decode = targets.get("prefill", Target()), targets.get("decode", Target())
    return Target(
        memory=decode.memory or prefill.memory,
        latency=_added(prefill.latency, decode.latency),
        energy=_joined(prefill.energy, decode.energy),
    )


def _added(first: Latency | None, second: Latency | None) -> Latency | None:
    """Means add up, percentiles do not: only the mean is used of it."""
    return first and second and second.model_copy(update={"mean": first.mean + second.mean})


def _joined(first: Energy | None, second: Energy | None) -> Energy | None:
    if first is None or second is None:
        return None
    parts = {key: _plus(getattr(first, key), getattr(second, key)) for key in ("cpu", "ram", "gpu", "total")}
    return second.model_copy(update=parts)


def _plus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _work(targets: Mapping[str, Target], config: Config) -> _Work:
    batch = config.whole("input_shapes", "batch_size") or _volume(targets.get("prefill"), "samples/s")
    batch = batch or _volume(targets.get("forward"), "samples/s")
    told = config.whole("generate_kwargs", "num_beams")
    beams = told or (1 if config.backend.name else None)  # its default, where it was not asked for
    tokens = config.whole("generate_kwargs", "max_new_tokens")
    decoded = _volume(targets.get("decode"), "tokens/s")
    if tokens is None and batch and decoded and decoded % (batch * (beams or 1)) == 0:
        tokens = decoded // (batch * (beams or 1)) + 1  # the first token comes out of the prefill
    return _Work(batch, tokens, beams)


def _volume(target: Target | None, unit: str) -> int | None:
    """How much one call brought: its rate times its mean time, where that is a whole number."""
    if target is None or target.latency is None or target.throughput is None or target.throughput.unit != unit:
        return None
    volume = target.throughput.value * target.latency.mean
    return round(volume) if 1 <= volume < _MOST and abs(volume - round(volume)) < _WHOLE else None


def _device(config: Config, energy: Energy | None) -> str:
    asked = config.backend.device_ids
    if config.backend.device == "cuda" and asked is not None:
        count = len(asked) if isinstance(asked, list) else len(str(asked).split(","))
        return f"{count} GPU{'s' * (count > 1)}"
    return {"cpu": "CPU", "cuda": "GPU"}.get(config.backend.device or "", "GPU" if on_gpu(energy) else "")


def _notes(work: _Work, energy: Energy | None) -> tuple[str, ...]:
    said = []
    if work.output and work.beams is None:
        said.append(f"{work.batch} × {work.tokens} tokens a call are worked out from its rates, for one beam")
    if energy is not None:
        said.append("joules per token are of its GPUs" if on_gpu(energy) else "joules per token are of its CPU")
    return tuple(said)
