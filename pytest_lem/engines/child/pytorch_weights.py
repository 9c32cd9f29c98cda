"""What the weights of a live model are: how they are quantised, in which precision, how many, in how many bytes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from .pytorch_ranks import local_part

# A few small tensors that a model keeps in another precision (router biases, norms) do not change what it runs in.
FOREIGN_SHARE = 0.01
# Linear layers that quantisers leave as they are: the head, and what routes tokens to experts.
LEFT_ALONE = ("lm_head", "gate", "router")
OF_TORCHAO = {"Int8Tensor": "int8_weight_only", "Float8Tensor": "float8_weight_only"}
# gptqmodel has a class for each kernel; what they derive from says how the files are packed. Some make activations
# narrow, too, which neither word says.
OF_GPTQMODEL = {"GPTQQuantLinear": "gptq", "AWQuantLinear": "awq"}
NARROW_OF_GPTQMODEL = {"W4AFP8Linear", "W4ANVFP4Linear"}
WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
INT4_TENSORS = ("Int4TilePackedTo4dTensor", "Int4Tensor")
# What lies beside the weights of experts, by a word of its name.
BESIDE = {"bias", "scale", "scales"}


def quantization(model: Any) -> str | None:
    """The word for what its linear layers are, but the head, and its experts; several joined by +; None where plain."""
    found = [_way(module) for name, module in _linear_layers(model) if name.rpartition(".")[2] not in LEFT_ALONE]
    found += [way for _, module in stacked_experts(model) for way in _ways_of_experts(module)]
    kinds = sorted({way or "none" for way in found})
    return None if kinds in ([], ["none"]) else "+".join(kinds)


def stacked_experts(model: Any) -> Iterator[tuple[str, Any]]:
    """Modules that keep all experts of a layer in a tensor each for up, gate and down: no linear layer is in them."""
    for name, module in model.named_modules():
        if "Expert" in type(module).__name__ and list(module.parameters(recurse=False)):
            yield name, module


def _ways_of_experts(module: Any) -> list[str | None]:
    """One for each stack of weights. Those that a kernel takes in a form of its own are no parameters any more."""
    own = {name: each for name, each in module.named_parameters(recurse=False) if not BESIDE & {*name.split("_")}}
    return [_way_of_stack(module, each) for each in own.values()] or [type(module).__name__]


def _way_of_stack(module: Any, weight: Any) -> str | None:
    if _parts(weight):
        return _way_of_torchao(weight)
    return None if _is_plain(weight) else type(module).__name__


def linear_layers(model: Any) -> dict[str, int]:
    """How many linear layers there are of each class and kind of weight: `Linear4bit uint8`."""
    return dict(Counter(f"{type(module).__name__} {_kind(module)}" for _, module in _linear_layers(model)))


def _linear_layers(model: Any) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if _is_linear(module):
            yield name, module


def _is_linear(module: Any) -> bool:
    """Whether it is a linear layer, a quantiser's own too."""
    named = "Linear" in type(module).__name__ and hasattr(module, "in_features")
    return named or isinstance(module, torch.nn.Linear)


def _kind(module: Any) -> str:
    """The weight's own class where torchao made it, else its dtype; packed ones of other quantisers are buffers."""
    weight = getattr(module, "weight", None)
    weight = getattr(module, "qweight", None) if weight is None else weight
    if weight is None:
        return "packed"
    return type(weight).__name__ if _parts(weight) else str(weight.dtype).removeprefix("torch.")


def _way(module: Any) -> str | None:
    name, weight = type(module).__name__, getattr(module, "weight", None)
    if weight is None:
        return _way_of_gptqmodel(module) or name
    if name == "Linear4bit" and getattr(weight, "quant_state", None) is not None:
        return {"nf4": "4bit"}.get(weight.quant_type, str(weight.quant_type))
    if name == "Linear8bitLt" and weight.dtype == torch.int8:
        return "8bit"
    if _parts(weight):
        return _way_of_torchao(weight)
    if _is_plain(weight):
        return None
    return _kind(module) if name == "Linear" else name


def _is_plain(weight: Any) -> bool:
    return bool(weight.is_floating_point() and weight.dtype.itemsize > 1)


def _way_of_gptqmodel(module: Any) -> str | None:
    bases = [base.__name__ for base in type(module).__mro__]
    if NARROW_OF_GPTQMODEL.intersection(bases):
        return None
    return next((OF_GPTQMODEL[base] for base in bases if base in OF_GPTQMODEL), None)


def _way_of_torchao(weight: Any) -> str:
    kind = type(weight).__name__
    if getattr(weight, "act_quant_kwargs", None) is not None:
        return {"Int8Tensor": "int8_dynamic_activation_int8_weight"}.get(kind, f"{kind} with quantised activations")
    return "int4_weight_only" if kind in INT4_TENSORS else OF_TORCHAO.get(kind, kind)


def precision(model: Any) -> str:
    """The dtype that holds the weights that are not quantised, and that quantised ones compute in, as far as they tell.

    Several are joined by +, where a second one holds more than its share.
    """
    held: Counter[str] = Counter()
    for module in model.modules():
        quantised = _is_linear(module) and _way(module)
        for name, parameter in module.named_parameters(recurse=False):
            if not (quantised and name == "weight" and not _parts(parameter)):
                held[_word(parameter.dtype)] += parameter.numel() * parameter.dtype.itemsize
            elif getattr(module, "compute_dtype", None) is not None:
                held[_word(module.compute_dtype)] += count(parameter) * module.compute_dtype.itemsize
    whole = sum(held.values())
    return "+".join(name for name, size in held.most_common() if size > FOREIGN_SHARE * whole)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def count(parameter: Any) -> int:
    """How many weights it is, packed or not."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())


def parameters(model: Any) -> int:
    """How many parameters the model has, quantised or not: what quantisers keep beside a layer's weight is none.

    A layer whose weight is packed into buffers has as many as its sizes tell.
    """
    layers = dict(_linear_layers(model))
    packed = [layer for layer in layers.values() if getattr(layer, "weight", None) is None]
    own = (
        parameter
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[0] not in layers or name.rpartition(".")[2] in ("weight", "bias")
    )
    return sum(map(count, own)) + sum(int(layer.in_features * layer.out_features) for layer in packed)


def weights_bytes(model: Any) -> int:
    """Bytes of all parameters as they lie in memory: packed weights, their scales, and what a checkpoint keeps beside.

    Tensors that share their memory count once.
    """
    return sum(bytes_by_device(model).values())


def embedding_bytes(model: Any) -> int:
    """Those of the embedding that tokens are looked up in, be it the head too or not; a later stage has none."""
    table = getattr(model.get_input_embeddings(), "weight", None)
    return sum(part.numel() * part.element_size() for part in _leaves(table)) if table is not None else 0


def bytes_by_device(model: Any) -> dict[torch.device, int]:
    """`weights_bytes` of each device that holds some."""
    storages = {(part.device, part.data_ptr()): part.numel() * part.element_size() for part in _all(model)}
    held: Counter[torch.device] = Counter()
    for (device, _), size in storages.items():
        held[device] += size
    return dict(held)


def fingerprint(model: Any) -> str:
    """A checksum of all weights: each tensor's words, weighted by their places, summed as whole numbers."""
    sums = [_checksum(part.contiguous().view(WORDS[part.element_size()]).flatten()) for part in _all(model)]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def _checksum(words: torch.Tensor) -> int:
    # In pieces: the places and products of a whole tensor would take eight times its memory.
    return sum(
        int((piece.to(torch.int64) * torch.arange(1, len(piece) + 1, device=piece.device)).sum()) * (number + 1)
        for number, piece in enumerate(words.split(1 << 20))
    )


def _all(model: Any) -> Iterator[torch.Tensor]:
    return (part for tensor in _stored(model) for part in _leaves(tensor))


def _stored(model: Any) -> Iterator[torch.Tensor]:
    for module in model.modules():
        yield from module.parameters(recurse=False)
        loose = module._non_persistent_buffers_set
        yield from (each for name, each in module.named_buffers(recurse=False) if name not in loose)
        if type(module).__name__ == "Linear8bitLt":
            # The scales lie with the weight until the first multiplication, then with the layer's state.
            scales = [module.state.SCB, getattr(module.weight, "SCB", None)]
            yield from [each for each in scales if each is not None][:1]


def _leaves(tensor: Any) -> Iterator[torch.Tensor]:
    """The plain tensors that one is made of: its parts, and the scales that bitsandbytes keeps beside it."""
    tensor = local_part(tensor)
    for name in _parts(tensor):
        yield from _leaves(getattr(tensor, name))
    if not _parts(tensor):
        yield tensor
    state = getattr(tensor, "quant_state", None)
    while state is not None:
        yield from (each for each in (state.absmax, state.code, state.offset) if each is not None)
        state = state.state2 if state.nested else None


def _parts(tensor: Any) -> list[str]:
    flatten = getattr(local_part(tensor), "__tensor_flatten__", None)  # a shard is made of what is here of it
    return list(flatten()[0]) if flatten is not None else []
