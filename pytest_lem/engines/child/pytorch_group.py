"""The processes that share an engine: where they meet, the edges of their window, what they tell one another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from . import resident

# The parent has its own deadlines, and ends ranks that hang; torch's 10 minutes are too short for a large model.
TIMEOUT = timedelta(hours=2)


class Alone:
    """An engine that one process runs: what a group does for several has nothing to do."""

    def share(self, work: dict[str, Any]) -> dict[str, Any]:
        """All of the work."""
        return work

    def observed(self, _model: Any, observed: dict[str, Any]) -> dict[str, Any]:
        """What one process observed is all there is."""
        return observed

    def arm(self, passes: int) -> None:
        """Nobody is waited for."""

    @contextmanager
    def window(self) -> Iterator[None]:
        """Nobody is waited for."""
        yield

    def collected(self, result: dict[str, Any]) -> dict[str, Any]:
        """One process's result is all there is."""
        return result

    def close(self) -> None:
        """There is nothing to leave."""


class Group:
    """The ranks of an engine, as one of them sees them. `backend` is what they compute by; the host's is gloo."""

    def __init__(self, request: dict[str, Any], device: torch.device, backend: str) -> None:
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
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(
            backend,
            store=store,
            rank=self.rank,
            world_size=self.count,
            timeout=TIMEOUT,
            device_id=device if backend == "nccl" else None,
        )
        # Edges of windows and what ranks tell one another go past the GPU's queue.
        self.host = dist.new_group(backend="gloo", timeout=TIMEOUT) if backend == "nccl" else None

    def share(self, work: dict[str, Any]) -> dict[str, Any]:
        """All of the work: each rank has a part in all of it."""
        return work

    def arm(self, passes: int) -> None:
        """Reset the host's peak; return when every rank is ready."""
        self.passes = passes
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

    def place(self, observed: dict[str, Any]) -> dict[str, Any]:
        """Who this rank is, and where."""
        return {
            "rank": self.rank,
            "world_size": dist.get_world_size(),
            "pid": os.getpid(),
            "device": next(iter(observed["gpus"]), observed["device"]),
            "distributed_backend": dist.get_backend(),
            "precision": observed["precision"],
        }

    def own_run(self, result: dict[str, Any], weights_bytes: int) -> dict[str, Any]:
        """What this rank did in a run."""
        peaks = result["memory"][0] if result["memory"] else {"device": self.device.type}
        return {
            **peaks,
            "rank": self.rank,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "tokens": result["tokens"],
            "weights_bytes": weights_bytes,
            "resident_bytes": resident.peak_bytes() if self.peak_is_ours else None,
        }

    def gather(self, own: Any) -> list[Any]:
        """What each rank says, on each rank, in their order."""
        told: list[Any] = [None] * self.count
        dist.all_gather_object(told, own, group=self.host)
        return told

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()
