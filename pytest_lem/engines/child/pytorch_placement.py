"""Layers that one process places on several devices, as accelerate does for a `device_map`, and where they really lie.

No parallel run: a token passes through the devices one after the other, and one of them works at a time.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import torch

from . import pytorch_weights as weights
from .faults import Refused
from .pytorch_memory import gpu_uuid
from .pytorch_ranks import alike, own_layers


def check_placement(options: dict[str, Any], device: torch.device) -> None:
    """Raise Refused, before anything is loaded, for a `device_map` that this device cannot have."""
    asked = options.get("device_map")
    if asked is None:
        return
    if importlib.util.find_spec("accelerate") is None:
        raise Refused("pytorch: device_map needs accelerate, which is not installed; install accelerate")
    named = {*asked.values()} if isinstance(asked, dict) else set()
    if device.type == "cpu" and named - {"cpu"}:
        numbers = ", ".join(map(str, sorted(named - {"cpu"})))
        raise Refused(
            f"pytorch: device_map names GPU(s) {numbers}, and this engine runs on the CPU; name cpu, or give it GPUs"
        )
    if device.type == "cuda" and "cpu" in named:
        raise Refused("pytorch: device_map names cpu, and this engine runs on GPUs; ask for device 'cpu', or name GPUs")
    if device.type == "cuda" and not named and torch.cuda.device_count() == 1:
        raise Refused(f"pytorch: device_map={asked!r} over one GPU places nothing; say how many, as gpus=2, or drop it")


def check_placed(model: Any, options: dict[str, Any], device: torch.device) -> None:
    """Raise Refused for a GPU that holds nothing, and for weights outside of the devices' memory.

    They would be copied for each token.
    """
    asked = options.get("device_map")
    if asked is None:
        return
    if isinstance(asked, dict):
        _check_names(model, asked)
    given, used = torch.cuda.device_count() if device.type == "cuda" else 0, len(gpus_of(model))
    if used < given:
        raise Refused(
            f"pytorch: device_map={asked!r} puts layers on {used} of {given} GPUs; take 'balanced', or gpus={used}"
        )
    types = {name: each.device.type for name, each in model.named_parameters()}
    found = [(name, at) for name, at in types.items() if at != device.type]
    if found:
        name, at = found[0]
        where = "the CPU or the disk" if at == "meta" else f"the {at.upper()}"
        raise Refused(
            f"pytorch: device_map={asked!r} leaves {len(found)} weights ({name} is the first) on {where}: they would "
            "be copied for each token, which is offloading; give it more GPUs (gpus=), or take a smaller model"
        )


def _check_names(model: Any, asked: dict[str, Any]) -> None:
    """Raise Refused for a module that the model has not, and for weights of a module that was not named."""
    known = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
    strange = next((name for name in asked if name not in known), None)
    if strange is not None:
        (nearest,) = get_close_matches(strange, sorted(known - {""}), 1, 0.0)
        raise Refused(f"pytorch: device_map: the model has no module {strange!r}; the nearest is {nearest!r}")
    left = [name for name, _ in model.named_parameters() if not any(_within(name, module) for module in asked)]
    if left:
        raise Refused(
            f"pytorch: device_map gives {len(left)} weights no place ({left[0]} is the first); name their modules too"
        )


def _within(weight: str, module: str) -> bool:
    return module in ("", weight) or weight.startswith(f"{module}.")


def gpus_of(model: Any) -> list[torch.device]:
    """The GPUs that hold its weights, in their order."""
    found = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    return sorted(found, key=lambda device: device.index)


def read_device_map(model: Any, asked: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """The map that was asked for, as far as the weights lie where it, or what it came to, says; else where they lie."""
    if asked is None:
        return None
    # Only where there is more than one device a model has a map.
    given = asked if isinstance(asked, dict) else getattr(model, "hf_device_map", {"": model.device})
    told = {module: _word(device) for module, device in given.items()}
    # A module whose weights are another one's has none of its own.
    found = {**told, **_of_modules(model, told)}
    return asked if found == told else found


def placement(model: Any) -> dict[str, dict[str, Any]]:
    """Of each device (a GPU's UUID, or its type): the layers that lie there, by number, and the bytes of weights."""
    layers: dict[str, list[int]] = {}
    for number, layer in own_layers(model).items():
        for name in sorted({_name(parameter.device) for parameter in layer.parameters()}):
            layers.setdefault(name, []).append(number)
    held = weights.bytes_by_device(model)
    return {_name(device): {"layers": layers.get(_name(device), []), "weights_bytes": held[device]} for device in held}


def _name(device: torch.device) -> str:
    return gpu_uuid(device) if device.type == "cuda" else device.type


def _of_modules(model: Any, modules: Iterable[str]) -> dict[str, Any]:
    """Where the weights of each module lie: each counts for the most particular one that names it, or for none."""
    found: dict[str, list[int | str]] = {}
    for name, parameter in model.named_parameters():
        owners = [module for module in modules if _within(name, module)]
        found.setdefault(max(owners, key=len, default="no module"), []).append(_word(parameter.device))
    return {module: alike(at) for module, at in found.items()}


def _word(device: Any) -> int | str:
    """A GPU's number, or what else a device is, as the option writes it."""
    if isinstance(device, int):
        return device
    if device == "disk":
        return "disk"
    found = torch.device(device)
    return found.index or 0 if found.type == "cuda" else str(found.type)
