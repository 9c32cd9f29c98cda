"""A model split by transformers among ranks, or its layers among GPUs: joining the ranks, loading what is where."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import torch
import transformers

from .faults import Refused
from .pytorch_group import Alone, Group
from .pytorch_outline import STAGED, hands_on, outline
from .pytorch_ranks import facts, local_part, merged, own_layers
from .pytorch_replicas import Replicas
from .pytorch_split import is_split, misfit, sizes

Make = Callable[[dict[str, Any], torch.device, dict[str, Any]], Any]


def join(request: dict[str, Any], device: torch.device, config: Any) -> Alone | Shared | Replicas:
    """The ranks that share this engine, whose model has this `config`.

    Raises Refused, before anything is loaded, for a model that they cannot share.
    """
    if request.get("ranks", 1) == 1:
        return Alone()
    _check_transformers(request["options"])
    text_config = config.get_text_config()
    reason = misfit(request["options"], {**config.to_dict(), **text_config.to_dict()})
    if reason:
        raise Refused(reason)
    _check_vocabulary(request["options"], text_config.vocab_size)
    if is_split(request["options"]):
        _check_class(request["options"], outline(config))
    if device.type == "cpu" and not request["options"].get("num_threads"):
        # As torchrun would not let them fight for the cores: each rank gets its share.
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // request["ranks"]))
    return Shared(request, device) if is_split(request["options"]) else Replicas(request, device)


def _check_transformers(options: dict[str, Any]) -> None:
    config = getattr(transformers, "DistributedConfig", None)
    known = {field.name for field in dataclasses.fields(config)} if config else set()
    tensor, stages = sizes(options)
    for option, size, field in (("tensor", tensor, "tp_size"), ("pipeline", stages, "pp_size")):
        if size > 1 and field not in known:
            raise Refused(
                f"{option}_parallel_size={size}: transformers {transformers.__version__} has no "
                f"DistributedConfig({field}=…); install transformers>=5.17"
            )


def _check_vocabulary(options: dict[str, Any], tokens: int) -> None:
    """Some transformers (5.17) gather parts of one size alone, and fail when the weights are there already."""
    tensor, _ = sizes(options)
    if tokens % tensor and _gathers_even_parts_alone():
        raise Refused(
            f"tensor_parallel_size={tensor} does not divide the model's vocabulary of {tokens} tokens, as transformers "
            f"{transformers.__version__} needs; take 1, or install transformers>=5.23"
        )


def _check_class(options: dict[str, Any], model: Any) -> None:
    """Only some classes of transformers say how their layers are shared, or are built of the parts it deals out."""
    tensor, stages = sizes(options)
    if tensor > 1 and not model.tp_plan:
        raise Refused(
            f"tensor_parallel_size={tensor}: transformers {transformers.__version__} has no plan (tp_plan) by which "
            f"ranks could share a {type(model).__name__}; take 1"
        )
    # What has another name would run on each stage: other tokens, and no error.
    parts = [name for name, part in model.base_model.named_children() if list(part.parameters())]
    if stages > 1 and {*parts} != STAGED:
        raise Refused(
            f"pipeline_parallel_size={stages}: transformers {transformers.__version__} deals out embed_tokens, layers "
            f"and norm, and {type(model.base_model).__name__} is made of {', '.join(parts)}; take 1"
        )
    if stages > 1 and not _hands_on(model, stages):
        raise Refused(
            f"pipeline_parallel_size={stages}: {type(model.base_model).__name__} scales its embedding, and would do so "
            "again on each stage; take 1"
        )


def _hands_on(model: Any, stages: int) -> bool:
    """As `hands_on`. Raises Refused, in one line, for a class that cannot be asked: it could make other tokens."""
    try:
        return hands_on(model)
    except Exception as error:  # noqa: BLE001 - a class may fail in any way
        told = f"whether stages of a {type(model.base_model).__name__} hand on what they get cannot be seen here"
        raise Refused(f"pipeline_parallel_size={stages}: {told} ({type(error).__name__}: {error}); take 1") from None


def _gathers_even_parts_alone() -> bool:
    """Whether the layer whose parts are gathered checks itself for that."""
    try:
        from transformers.distributed.tensor_parallel import ColwiseParallel
    except ImportError:
        return False
    return "validate_param" in vars(ColwiseParallel)


class Shared(Group):
    """Ranks of which each has a part in every token: NCCL between GPUs, gloo between CPUs."""

    def __init__(self, request: dict[str, Any], device: torch.device) -> None:
        super().__init__(request, device, "nccl" if device.type == "cuda" else "gloo")

    def observed(self, model: Any, observed: dict[str, Any]) -> dict[str, Any]:
        """What runs on all ranks, each read from its own live objects. Raises RuntimeError where parts are missing."""
        own = {**self.place(observed), **facts(model)}
        self.weights_bytes = own["weights_bytes"]
        return merged(self.gather((own, observed)))

    def collected(self, result: dict[str, Any]) -> dict[str, Any]:
        """A run's result with what each rank did in it. Raises RuntimeError where they did not make the same tokens."""
        made = hashlib.sha256(json.dumps(result["token_ids"]).encode()).hexdigest()
        told = self.gather((self.own_run(result, self.weights_bytes), made, result["memory"]))
        for rank, (_, other, _) in enumerate(told):
            if other != told[0][1]:
                raise RuntimeError(f"rank {rank} made other tokens than rank 0")
        memory = [peak for _, _, peaks in told for peak in peaks]
        return {**result, "memory": memory, "ranks": [each for each, _, _ in told]}


def split(make: Make) -> Make:
    """`make` with the model split among the ranks by transformers, each of which holds its own part alone."""

    def made(request: dict[str, Any], device: torch.device, keywords: dict[str, Any]) -> Any:
        tensor, stages = sizes(request["options"])
        asked = {**keywords, "distributed_config": transformers.DistributedConfig(tp_size=tensor, pp_size=stages)}
        model = _made_as(asked, make, request, device, keywords)
        _own_memory(model)
        _number_layers(model)
        # What is drawn from now on is drawn alike on all ranks.
        torch.manual_seed(request["seed"])
        return model

    return made


def spread(make: Make) -> Make:
    """`make` with the model's layers placed by transformers and accelerate, as the `device_map` says."""

    def made(request: dict[str, Any], device: torch.device, keywords: dict[str, Any]) -> Any:
        asked = {**keywords, "device_map": request["options"]["device_map"]}
        return _made_as(asked, make, request, device, keywords)

    return made


def _made_as(
    asked: dict[str, Any], make: Make, request: dict[str, Any], device: torch.device, keywords: dict[str, Any]
) -> Any:
    """A model by `from_pretrained`'s own keywords: one that is stored is read so, a random one drawn whole before."""
    if request["source"] == "synthetic":
        model = _part_of(make(request, device, keywords), asked)
    else:
        model = make(request, device, asked)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return model


def _part_of(whole: Any, asked: dict[str, Any]) -> Any:
    """What is here of a model that was drawn whole, as one process would: nothing passes a disk."""
    return type(whole).from_pretrained(None, config=whole.config, state_dict=whole.state_dict(), **asked)


def _own_memory(model: Any) -> None:
    """Copy shards that are views of a whole weight, which would be kept for them."""
    copies: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            local = local_part(parameter)
            if local.untyped_storage().nbytes() == local.numel() * local.element_size():
                continue
            if id(parameter) not in copies:
                copies[id(parameter)] = torch.nn.Parameter(_copy(parameter), requires_grad=False)
            setattr(module, name, copies[id(parameter)])


def _copy(parameter: Any) -> torch.Tensor:
    local = local_part(parameter).detach().clone(memory_format=torch.contiguous_format)
    if not hasattr(parameter, "to_local"):
        return local
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        local,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def _number_layers(model: Any) -> None:
    """Number a stage's layers from 0 on, so that its cache tells how many tokens it holds.

    transformers (5.23) asks the cache of layer 0, which only the first stage has: the others take padding for tokens.
    """
    if getattr(model, "_pp_stage", None) is None:
        return
    for number, layer in enumerate(own_layers(model).values()):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number
