"""What a row is about: its names, how its engine was asked for, and how it really ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_lem.model.lengths import Lengths
from pytest_lem.model.measurement import EngineRecord, Measurement
from pytest_lem.model.workload import WorkloadSpec
from pytest_lem.render.numbers import significant

NO_ENGINE = "a window: no engine"


@dataclass(frozen=True)
class Words:
    """A measurement in the words of its columns; all empty for a window."""

    engine: str = ""
    model: str = ""
    precision: str = ""
    load: str = ""
    tokens: str = ""
    device: str = ""

    @property
    def line(self) -> str:
        """All of them on one line."""
        told = (self.engine, self.model, self.precision, self.load, self.tokens, self.device)
        return " · ".join(word for word in told if word) or NO_ENGINE


def words(measurement: Measurement) -> Words:
    """`vllm`, `synthetic:tiny`, `bf16`, `batch 8`, `256 + 128 tokens`, `2 GPUs`."""
    engine, workload = measurement.engine, measurement.workload
    if engine is None:
        return Words()
    asked = engine.requested
    return Words(
        asked.backend,
        asked.model,
        asked.precision_id,
        load(workload) if workload else "",
        tokens(workload) if workload else "",
        device(measurement),
    )


def load(workload: WorkloadSpec) -> str:
    """`batch 8`, `poisson 10 req/s`, `closed 16`."""
    traffic = workload.arriving
    if traffic is None:
        how = "" if workload.batching == "static" else f" {workload.batching}"
        return f"batch {workload.batch}{how}"
    if traffic.qps is not None:
        return f"{traffic.arrivals} {traffic.qps:g} req/s"
    return f"{traffic.arrivals} {traffic.concurrency}" if traffic.concurrency else traffic.arrivals


def tokens(workload: WorkloadSpec) -> str:
    """`256 + 128 tokens`: of the prompt, and new ones."""
    asked = (
        "own prompts" if workload.prompts or workload.data or workload.generator else _length(workload.prompt_tokens)
    )
    return f"{asked} + {_length(workload.output_tokens)} tokens"


def device(measurement: Measurement) -> str:
    """`CPU`, or how many GPUs it ran on."""
    gpus = max((len(cycle.gpus) for cycle in measurement.cycles), default=0)
    return "CPU" if not gpus else f"{gpus} GPU{'s' * (gpus > 1)}"


def provenance(engine: EngineRecord | None) -> list[tuple[str, str | None, str | None]]:
    """Each of the engine's fields, as it was asked for and as it was observed; None where a side says nothing.

    GPUs are asked for by number and observed by name: their number stands under `gpus`, their names under `gpu_uuids`.
    Of an engine on a CPU none are asked.
    """
    if engine is None:
        return []
    asked = dict(_flat(engine.requested.model_dump(mode="json")))
    seen = dict(_flat(engine.observed))
    if uuids := engine.observed.get("gpus"):
        seen |= {"gpus": str(len(uuids)), "gpu_uuids": seen["gpus"]}
    elif "gpus" in seen:
        del asked["gpus"]
    return [(key, asked.get(key), seen.get(key)) for key in dict.fromkeys([*asked, *seen])]


def asked_work(measurement: Measurement) -> list[tuple[str, str]]:
    """What was asked beside the engine: the workload and the protocol, where they are not the default."""
    found: dict[str, Any] = {}
    if measurement.workload is not None:
        found = measurement.workload.model_dump(mode="json", exclude_none=True)
        found["prompts"] = len(measurement.workload.prompts) or None
    told = {"workload": found, "protocol": measurement.protocol.model_dump(mode="json")}
    return [(key, value) for key, value in _flat(told) if value != "not said"]


def built_work(measurement: Measurement) -> list[tuple[str, None, str]]:
    """What came of the workload before it ran, as `provenance` has it: tokens before and after, what was cut, groups.

    Arrivals are many, and in the report only.
    """
    work = next((cycle.work for cycle in measurement.cycles if cycle.work), {})
    told = {name: value for name, value in work.items() if name != "arrivals"}
    return [(key, None, value) for key, value in _flat({"work": told} if told else {})]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, each in value.items():
        if isinstance(each, Mapping) and each:
            yield from _flat(each, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _word(each)


def _word(value: Any) -> str:
    if value is None:
        return "not said"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else significant(value, 6)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "none"
    return "none" if value == {} else str(value)


def _length(tokens: int | Lengths) -> str:
    return str(tokens) if isinstance(tokens, int) else tokens.word
