"""FLOPs from a model's sizes alone: every matrix product of a forward pass, nothing else.

A product of a vector with an m × n matrix is 2mn FLOPs. Norms, activations, rotations, softmax and additions of biases
are left out, as they are by torch's own counter and by the definition of model FLOPs utilisation (Chowdhery et al.,
PaLM, 2022, appendix B), where attention is that of a causal model.
"""

from __future__ import annotations

from pytest_lem.flops.architecture import Architecture
from pytest_lem.model.arithmetic import Coefficients


def coefficients(model: Architecture) -> Coefficients:
    """What one token costs, in FLOPs: 2 for each weight that it meets, and 4qd a layer for each position attended to.

    With D wide layers, q heads and kv of d: 2D(q + 2kv)d + 2qdD for the projections of attention, 6DI for a gated and
    4DI for a plain feed-forward network I wide, the same for each expert that answers and for shared ones, 2DE for a
    router of E experts, 2DV for the head of V words, whether or not it is tied to the embedding.
    """
    return Coefficients(
        per_token=2.0 * (layer_weights(model) + expert_weights(model, chosen_only=True)),
        per_position=4.0 * model.layers * model.heads * model.head_dim,
        per_sample=2.0 * head_weights(model),
        positions=model.window,
    )


def layer_weights(model: Architecture) -> int:
    """Weights of all layers that every token meets: attention, dense networks, routers and shared experts."""
    attention = 2 * model.width * (model.heads + model.kv_heads) * model.head_dim
    experts = model.experts
    sparse = experts.layers if experts else 0
    weights = model.layers * attention + (model.layers - sparse) * _network(model, model.ffn)
    if experts:
        beside = model.width * (experts.count + experts.gated) + _network(model, experts.shared)
        weights += sparse * beside
    return weights


def expert_weights(model: Architecture, *, chosen_only: bool = False) -> int:
    """Weights of all routed experts, or of those alone that answer one token."""
    experts = model.experts
    if experts is None:
        return 0
    return experts.layers * (experts.chosen if chosen_only else experts.count) * _network(model, experts.width)


def head_weights(model: Architecture) -> int:
    """Weights of the head, or of the embedding."""
    return model.width * model.vocabulary


def _network(model: Architecture, width: int) -> int:
    return (3 if model.gated else 2) * model.width * width
