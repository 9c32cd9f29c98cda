"""What a model's class makes of its configuration: its modules, without any weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM

# The parts of a model that transformers gives to one stage, or shares among them.
STAGED = {"embed_tokens", "layers", "norm"}


def outline(config: Any) -> Any:
    """The model on the device `meta`, where nothing takes memory."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def hands_on(model: Any) -> bool:
    """Whether an `outline` whose layers and norm do nothing gives what it is given; it is of no other use then.

    transformers has each stage run the whole `forward`, with nothing in the place of what is another's: a factor in it,
    as Granite has for its embedding, would be applied by each of them.
    """
    base = model.base_model
    for name, part in base.named_children():
        if name not in STAGED:
            part.to_empty(device="cpu")
    for part in (*base.layers, base.norm):
        part.forward = _nothing
    width = model.config.get_text_config().hidden_size
    given = torch.arange(1.0, 2 * width + 1).reshape(1, 2, width)
    with torch.no_grad():
        return bool(torch.equal(base(inputs_embeds=given, use_cache=False)[0], given))


def _nothing(hidden_states: Any, *_: Any, **__: Any) -> Any:
    return hidden_states
