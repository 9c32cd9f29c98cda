"""What a model's class makes of its configuration: its modules, without any weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM


def outline(config: Any) -> Any:
    """The model on the device `meta`, where nothing takes memory."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)
