"""Data parallel replicas: each rank holds all of the model, and answers its own requests of a pass."""

from __future__ import annotations

from typing import Any

import torch

from .faults import Refused
from .pytorch_group import Group
from .pytorch_ranks import alike, is_shard, pipeline_parallel_size, together
from .pytorch_weights import fingerprint
from .replica_shares import in_order, part, renumbered, too_few


class Replicas(Group):
    """They meet at the edges of a window, and do nothing together in it."""

    def __init__(self, request: dict[str, Any], device: torch.device) -> None:
        super().__init__(request, device, "gloo")

    def share(self, work: dict[str, Any]) -> dict[str, Any]:
        """The part of the work that is this replica's. Raises Refused, on all, where there is none for one of them."""
        reason = too_few(work, self.count)
        if reason:
            raise Refused(reason)
        self.places, own = part(work, self.count, self.rank)
        return own

    def observed(self, model: Any, observed: dict[str, Any]) -> dict[str, Any]:
        """What runs on all replicas, each read from its own live objects.

        Raises RuntimeError where they do not hold the same weights.
        """
        # What is drawn from now on is drawn for other requests.
        torch.manual_seed(torch.initial_seed() + self.rank)
        self.weights_bytes = observed["weights_bytes"]
        whole = not any(map(is_shard, model.parameters())) and pipeline_parallel_size(model) == 1
        own = {**self.place(observed), "weights_bytes": self.weights_bytes, "weights": fingerprint(model)}
        told = self.gather((own, observed, whole))
        for own, _, _ in told:
            if own["weights"] != told[0][0]["weights"]:
                raise RuntimeError(f"rank {own['rank']} holds other weights than rank 0")
        return _merged(told)

    def collected(self, result: dict[str, Any]) -> dict[str, Any]:
        """The run's result: what each replica made, one after the other, and what all of them come to."""
        own = {**self.own_run(result, self.weights_bytes), "requests": self.passes * len(self.places)}
        told = self.gather((own, self.places, result))
        runs, results = [each for each, _, _ in told], [each for _, _, each in told]
        counted = {name: sum(each["counters"][name] for each in results) for name in results[0]["counters"]}
        texts = [(places, each["texts"]) for _, places, each in told]
        return {
            "tokens": sum(each["tokens"] for each in results),
            "token_ids": in_order((places, each["token_ids"]) for _, places, each in told),
            "texts": None if results[0]["texts"] is None else in_order(texts),
            "request_times": [
                renumbered(times, places, (own["start_ns"] - runs[0]["start_ns"]) / 1e6)
                for own, places, each in told
                for times in each["request_times"]
            ],
            "memory": [peak for each in results for peak in each["memory"]],
            "counters": {**counted, "weights_bytes": sum(each["weights_bytes"] for each in runs)},
            "ranks": runs,
        }


def _merged(told: list[tuple[dict[str, Any], dict[str, Any], bool]]) -> dict[str, Any]:
    observed = [each for _, each, _ in told]
    found = together(observed)
    drafting = [each["assistant_weights_bytes"] for each in observed if each["assistant_weights_bytes"] is not None]
    return {
        **found,
        "options": {**found["options"], "data_parallel_size": sum(whole for _, _, whole in told)},
        "parameters": alike(each["parameters"] for each in observed),
        "weights_bytes": sum(each["weights_bytes"] for each in observed),
        "assistant_weights_bytes": sum(drafting) if drafting else None,
        "ranks": [own for own, _, _ in told],
    }
