"""A model split by transformers among ranks: joining them, loading each its part, and reading back what is where."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import transformers

from . import resident
from .faults import Refused
from .pytorch_ranks import Alone, facts, local_part, merged, own_layers
from .pytorch_split import misfit, sizes

# The parent has its own deadlines, and ends ranks that hang; torch's 10 minutes are too short for a large model.
TIMEOUT = timedelta(hours=2)

Make = Callable[[dict[str, Any], torch.device, dict[str, Any]], Any]


def join(request: dict[str, Any], device: torch.device, config: Any) -> Alone | Group:
    """The ranks that share this engine, whose model has this `config`.

    Raises Refused, before anything is loaded, for a model that they cannot share.
    """
    if request.get("ranks", 1) == 1:
        return Alone()
    _check_transformers(request["options"])
    reason = misfit(request["options"], config.get_text_config().to_dict())
    if reason:
        raise Refused(reason)
    if device.type == "cpu" and not request["options"].get("num_threads"):
        # As torchrun would not let them fight for the cores: each rank gets its share.
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // request["ranks"]))
    return Group(request, device)


def _check_transformers(options: dict[str, Any]) -> None:
    config = getattr(transformers, "DistributedConfig", None)
    known = {field.name for field in dataclasses.fields(config)} if config else set()
    tensor, stages = sizes(options)
    for option, size, field in (("tensor", tensor, "tp_size"), ("pipeline", stages, "pp_size")):
        if size > 1 and field not in known:
            raise Refused(
                f"{option}_parallel_size={size}: transformers {transformers.__version__} has no "
                f"DistributedConfig({field}=…); install transformers>=5.23"
            )


class Group:
    """The ranks of this engine, as one of them sees them: NCCL between GPUs, gloo between CPUs and for the host."""

    def __init__(self, request: dict[str, Any], device: torch.device) -> None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all ranks are on this host
        self.rank, self.count, self.device = request["rank"], request["ranks"], device
        first = self.rank == 0
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            self.count,
            is_master=first,
            master_listen_fd=request["listen_fd"] if first else None,
            timeout=TIMEOUT,
            wait_for_workers=False,
        )
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=store,
            rank=self.rank,
            world_size=self.count,
            timeout=TIMEOUT,
            device_id=device if cuda else None,
        )
        # Edges of windows and what ranks tell one another go past the GPU's queue.
        self.host = dist.new_group(backend="gloo", timeout=TIMEOUT) if cuda else None

    def observed(self, model: Any, observed: dict[str, Any]) -> dict[str, Any]:
        """What runs on all ranks, each read from its own live objects. Raises RuntimeError where parts are missing."""
        own = {**facts(model, observed), "rank": self.rank, "world_size": dist.get_world_size()}
        self.weights_bytes = own["weights_bytes"]
        return merged(self._gather((own, observed)))

    def arm(self) -> None:
        """Reset the host's peak; return when every rank is ready."""
        self.peak_is_ours = resident.forget_peak()
        dist.barrier(group=self.host)

    @contextmanager
    def window(self) -> Iterator[None]:
        """No rank works before all are inside, or leaves before all are done."""
        dist.barrier(group=self.host)
        self.start_ns = time.monotonic_ns()
        yield
        self.end_ns = time.monotonic_ns()
        dist.barrier(group=self.host)

    def collected(self, result: dict[str, Any]) -> dict[str, Any]:
        """A run's result with what each rank did in it. Raises RuntimeError where they did not make the same tokens."""
        peaks = result["memory"][0] if result["memory"] else {"device": self.device.type}
        own = {
            **peaks,
            "rank": self.rank,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "tokens": result["tokens"],
            "weights_bytes": self.weights_bytes,
            "resident_bytes": resident.peak_bytes() if self.peak_is_ours else None,
        }
        made = hashlib.sha256(json.dumps(result["token_ids"]).encode()).hexdigest()
        told = self._gather((own, made, result["memory"]))
        for rank, (_, other, _) in enumerate(told):
            if other != told[0][1]:
                raise RuntimeError(f"rank {rank} made other tokens than rank 0")
        memory = [peak for _, _, peaks in told for peak in peaks]
        return {**result, "memory": memory, "ranks": [each for each, _, _ in told]}

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()

    def _gather(self, own: Any) -> list[Any]:
        """What each rank says, on each rank, in their order."""
        told: list[Any] = [None] * self.count
        dist.all_gather_object(told, own, group=self.host)
        return told


def split(make: Make) -> Make:
    """`make` with the model split among the ranks by transformers, each of which holds its own part alone."""

    def made(request: dict[str, Any], device: torch.device, keywords: dict[str, Any]) -> Any:
        tensor, stages = sizes(request["options"])
        asked = {**keywords, "distributed_config": transformers.DistributedConfig(tp_size=tensor, pp_size=stages)}
        if request["source"] == "synthetic":
            model = _part_of(make(request, device, keywords), asked)
        else:
            model = make(request, device, asked)
        _own_memory(model)
        _number_layers(model)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        # What is drawn from now on is drawn alike on all ranks.
        torch.manual_seed(request["seed"])
        return model

    return made


def _part_of(whole: Any, asked: dict[str, Any]) -> Any:
    """A rank's part of a model that it drew whole, as one process would: nothing passes a disk."""
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
