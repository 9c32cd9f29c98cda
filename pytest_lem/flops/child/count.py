"""Count the FLOPs of single forward passes of an eager model on the meta device; its weights exist nowhere.

`python count.py REQUEST RESULT`: both are JSON files. The request has a `method` (`counted`: torch's FlopCounterMode;
`calflops`), the `contexts` to count at, and a model: `location`, a file with its configuration
(`synthetic`), or a folder or hub name; or its `shape` itself.
calflops leaves torch patched when it raises, so this process counts one model and ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
import transformers

Count = Callable[[torch.nn.Module, torch.Tensor], float]


class Step(torch.nn.Module):  # type: ignore[misc]  # torch is not seen by mypy
    """One forward pass of a model after `past` tokens, with the head for the last `keep` tokens: a module by itself."""

    def __init__(self, model: Any, past: int, keep: int) -> None:
        super().__init__()
        self.model, self.keep = model, keep
        self.cache = transformers.DynamicCache(config=model.config)
        if past:
            self.model(input_ids=_tokens(past), past_key_values=self.cache, logits_to_keep=1)

    def forward(self, input_ids: torch.Tensor) -> Any:
        """The pass."""
        return self.model(input_ids=input_ids, past_key_values=self.cache, logits_to_keep=self.keep)


def _tokens(count: int) -> torch.Tensor:
    return torch.zeros((1, count), dtype=torch.long, device="meta")


def by_torch() -> Count:
    """FLOPs of a step by torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    def flops(step: torch.nn.Module, tokens: torch.Tensor) -> float:
        with FlopCounterMode(display=False) as counter:
            step(tokens)
        return float(counter.get_total_flops())

    return flops


def by_calflops() -> Count:
    """FLOPs of a step by calflops."""
    from calflops import calculate_flops

    def flops(step: torch.nn.Module, tokens: torch.Tensor) -> float:
        found, _, _ = calculate_flops(step, args=[tokens], print_results=False, output_as_string=False)
        return float(found)

    return flops


def load(request: dict[str, Any]) -> Any:
    """The model without weights: eager attention, experts as batched products, which every counter sees."""
    if request.get("source") == "synthetic":
        with open(request["location"], encoding="utf-8") as file:
            request = {**request, "shape": json.load(file)}
    shape = dict(request.get("shape") or {})
    if shape:
        config = transformers.AutoConfig.for_model(shape.pop("model_type"), **shape)
    else:
        config = transformers.AutoConfig.from_pretrained(request["location"])
    config = config.get_text_config()
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", experts_implementation="batched_mm", dtype=torch.bfloat16
        )
    return model.eval()


def count(request: dict[str, Any]) -> dict[str, Any]:
    """One token's FLOPs after each of the contexts, the head's, and those of a whole prompt at once if one is asked."""
    by = {"counted": by_torch, "calflops": by_calflops}[request["method"]]()
    model = load(request)

    def flops(tokens: int, past: int, keep: int) -> float:
        return by(Step(model, past, keep), _tokens(tokens))

    with torch.no_grad():
        found: dict[str, Any] = {
            "contexts": request["contexts"],
            "tokens": [flops(1, context - 1, 1) for context in request["contexts"]],
            "head": flops(2, 0, 2) - flops(2, 0, 1),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        if request.get("prompt"):
            found["prompt"] = flops(request["prompt"], 0, 1)
    return found


def main(request: str, result: str) -> None:
    """Read the request, count, write the result."""
    with open(request, encoding="utf-8") as file:
        found = count(json.load(file))
    with open(result, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
