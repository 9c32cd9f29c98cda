"""Bytes that decoding reads from the device's memory: weights once a step, keys and values of what is attended to.

Left out: what is written, activations, and the rows of an embedding that is not the head.
"""

from __future__ import annotations

from pytest_lem.flops.analytic import expert_weights, head_weights, layer_weights
from pytest_lem.flops.architecture import Architecture


def weights_read(
    model: Architecture, weights_bytes: float, sequences: int, embedding_bytes: float | None = None
) -> float:
    """Bytes of weights that one step of `sequences` requests reads, of the `weights_bytes` that the model takes.

    Of experts those that are expected to be chosen at least once, were the choice uniform. An embedding that is not the
    head takes `embedding_bytes`, none of them read. None: not known, it is taken to be as wide as all weights are,
    which is an approximation where layers are quantised and it is not; so are experts that are narrower than the rest.
    """
    always, experts, head = layer_weights(model) + head_weights(model), expert_weights(model), head_weights(model)
    if embedding_bytes is None:
        embedding_bytes = weights_bytes * head / (always + experts + head)
    read = weights_bytes if model.tied else weights_bytes - embedding_bytes
    return read * (always + _chosen(model, sequences) * experts) / (always + experts)


def kv_bytes(model: Architecture, width: float) -> float:
    """Bytes of keys and values that one position takes in all layers, of `width` bytes a number."""
    return 2 * model.layers * model.kv_heads * model.head_dim * width


def _chosen(model: Architecture, sequences: int) -> float:
    """The expected share of experts that at least one of the sequences meets in a step."""
    experts = model.experts
    return 1 - (1 - experts.chosen / experts.count) ** sequences if experts else 0.0
