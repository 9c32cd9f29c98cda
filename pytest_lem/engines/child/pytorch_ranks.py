"""What each rank of a split model really holds, and what they come to together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch

ABSENT_LAYER = "PipelineIdentityLayer"


def local_part(parameter: torch.Tensor) -> torch.Tensor:
    """What this process holds of a parameter."""
    part: torch.Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return part


def _storage_bytes(parameters: Iterable[torch.Tensor]) -> int:
    """What is kept in memory for them: a view keeps all of what it views."""
    storages = (local_part(each).untyped_storage() for each in parameters)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def is_shard(parameter: torch.Tensor) -> bool:
    """Whether others hold the rest of it."""
    return bool(local_part(parameter).numel() < parameter.numel())


def tensor_parallel_size(model: Any) -> int | str:
    """Over how many ranks the layers' weights are spread, by the shards themselves; 1 where there is none."""
    return alike(parameter.device_mesh.size() for parameter in model.parameters() if is_shard(parameter)) or 1


def own_layers(model: Any) -> dict[int, Any]:
    """The layers that are in this process, by their number in the model."""
    layers = model.get_decoder().layers
    return {number: layer for number, layer in enumerate(layers) if type(layer).__name__ != ABSENT_LAYER}


def pipeline_parallel_size(model: Any) -> int:
    """Over how many stages the layers are spread; 1 where all of them are here."""
    stage = getattr(model, "_pp_stage", None)
    return 1 if stage is None else int(stage.pp_size)


def facts(model: Any) -> dict[str, Any]:
    """What is here of the model, by its live objects; `parts` tells each parameter's local shape, and its whole one."""
    parts = {name: (tuple(local_part(each).shape), tuple(each.shape)) for name, each in model.named_parameters()}
    return {
        "layers": list(own_layers(model)),
        "weights_bytes": _storage_bytes(model.parameters()),
        "parts": parts,
    }


def merged(told: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """The observed configuration of all ranks.

    Raises RuntimeError where their parts of a parameter are not the whole of it.
    """
    ranks, observed = [own for own, _ in told], [each for _, each in told]
    return {
        **together(observed),
        "linear_layers": _linear_layers(observed),
        "parameters": _whole([own.pop("parts") for own in ranks], ranks),
        "weights_bytes": sum(own["weights_bytes"] for own in ranks),
        "ranks": ranks,
    }


def together(observed: list[dict[str, Any]]) -> dict[str, Any]:
    """What all ranks observed alike; where they differ, their values joined by +, which is a mismatch.

    An embedding counts as often as it is there, as `weights_bytes` do.
    """
    return {
        **observed[0],
        "precision": alike(each["precision"] for each in observed),
        "device": alike(each["device"] for each in observed),
        "gpus": sorted(gpu for each in observed for gpu in each["gpus"]),
        "embedding_bytes": sum(each["embedding_bytes"] for each in observed),
        "options": {name: alike(each["options"][name] for each in observed) for name in observed[0]["options"]},
    }


def _linear_layers(observed: list[dict[str, Any]]) -> Any:
    """How many there are of each kind: those of all stages together, or those that all ranks have a part of."""
    told = [each["linear_layers"] for each in observed]
    if observed[0]["options"]["pipeline_parallel_size"] == 1:
        return alike(told)
    total: Counter[str] = Counter()
    for each in told:
        total.update(each)
    return dict(total)


def _whole(parts: list[dict[str, Any]], ranks: list[dict[str, Any]]) -> int:
    """Parameters of the whole model. Leaves one layer's shards in each rank's facts, for a reader."""
    total = 0
    for name in dict.fromkeys(name for each in parts for name in each):
        held = [each[name] for each in parts if name in each]
        sizes = [_count(local) for local, _ in held]
        whole = _count(held[0][1])
        if (sum(sizes) if sizes[0] < whole else min(sizes)) != whole:
            raise RuntimeError(f"the ranks hold {sum(sizes)} of the {whole} parameters of {name}")
        total += whole
    for own, each in zip(ranks, parts, strict=True):
        first = f".layers.{own['layers'][0]}." if own["layers"] else ""
        own["shards"] = {
            name: [*map(list, shapes)] for name, shapes in each.items() if first in name and len(shapes[1]) > 1
        }
    return total


def _count(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def alike(values: Iterable[Any]) -> Any:
    """The value that all of them are, or all different ones joined by +; None where there is none."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found[0] if len(found) == 1 else "+".join(map(str, found)) or None
