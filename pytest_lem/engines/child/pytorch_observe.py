"""Read from live objects what the model really is and does."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from typing import Any

import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers import GenerationConfig

from .architecture import architecture
from .pytorch_memory import gpu_uuid

# A few small tensors that a model keeps in another precision (router biases, norms) do not change what it runs in.
FOREIGN_SHARE = 0.01


class KernelWatch(TorchFunctionMode):  # type: ignore[misc]  # torch is not seen by mypy
    """Counts calls of PyTorch's fused attention while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.fused_calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and call through."""
        self.fused_calls += func is scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def observe(model: Any, options: dict[str, Any], generation: GenerationConfig) -> dict[str, Any]:
    """The observed configuration of `model`; runs it once, two tokens as `generation` says, to see cache and kernel."""
    widths, fused_calls = _probe(model, generation)
    parameters = list(model.parameters())
    devices = {parameter.device for parameter in parameters}
    text_config = model.config.get_text_config()
    read_back = {
        "attention_implementation": _attention(model.config._attn_implementation, fused_calls),
        "use_cache": widths[1:] == [1],
        "num_threads": torch.get_num_threads(),
        # What serves requests that come one by one; a wave is always one call of generate.
        "traffic": options["traffic"],
        # Dequantised weights keep no trace of their file; from_pretrained fails where it cannot read it.
        "gguf_file": options.get("gguf_file"),
    }
    return {
        "precision": _precision(parameters),
        "device": "+".join(sorted({device.type for device in devices})),
        "gpus": sorted(gpu_uuid(device) for device in devices if device.type == "cuda"),
        "options": read_back,
        "attention_class": _attention_class(model),
        "model_class": type(model).__name__,
        "experts_implementation": _experts(text_config),
        "architecture": architecture(text_config),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "weights_bytes": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        "vocab_size": text_config.vocab_size,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, **_python()},
        "executable": sys.executable,
        "imported": sorted(name for name in ("pytest_lem", "pydantic", "pytest") if name in sys.modules),
    }


def _python() -> dict[str, str | None]:
    return {"python": platform.python_version(), "cuda": torch.version.cuda}


def _probe(model: Any, generation: GenerationConfig) -> tuple[list[int], int]:
    """Token widths of each forward pass of a two-token run (one token wide after the first, where a cache works)."""
    widths: list[int] = []

    def note(_module: Any, _args: Any, kwargs: Any, _output: Any) -> None:
        widths.append(kwargs["input_ids"].shape[1])

    handle = model.register_forward_hook(note, with_kwargs=True)
    prompt = torch.zeros((1, 4), dtype=torch.long, device=model.device)
    with KernelWatch() as watch:
        model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=generation)
    handle.remove()
    return widths, watch.fused_calls


def _attention(configured: str, fused_calls: int) -> str:
    """The implementation's name, unless the calls that it made belie it."""
    if configured == "sdpa" and not fused_calls:
        return "no sdpa call, though configured"
    if configured == "eager" and fused_calls:
        return "sdpa"
    return configured


def _attention_class(model: Any) -> str | None:
    names = (type(module).__name__ for module in model.modules())
    return next((name for name in names if name.endswith("Attention")), None)


def _experts(text_config: Any) -> str | None:
    """How a mixture of experts is computed; None for a dense model."""
    experts = getattr(text_config, "num_experts", None) or getattr(text_config, "num_local_experts", None)
    return getattr(text_config, "_experts_implementation", None) if experts else None


def _precision(parameters: list[torch.nn.Parameter]) -> str:
    """The dtype that holds the weights; several, joined by +, where a second one holds more than its share."""
    held: Counter[str] = Counter()
    for parameter in parameters:
        held[str(parameter.dtype).replace("torch.", "")] += parameter.numel() * parameter.element_size()
    whole = sum(held.values())
    return "+".join(name for name, size in held.most_common() if size > FOREIGN_SHARE * whole)
