"""Which attention runs: refused before the model is made where it cannot, and counted where it is called."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .faults import Refused

# The module of each FlashAttention's own package, and the first compute capability that its kernels run on.
FLASH = {
    "flash_attention_2": ("flash_attn", "flash-attn", (8, 0)),
    "flash_attention_3": ("flash_attn_interface", "flash-attn-3", (9, 0)),
}
# Where transformers calls the kernels that torch's functions do not show.
CALLED = {
    "flex": "transformers.integrations.flex_attention.compile_friendly_flex_attention",
    "flash": "transformers.integrations.flash_attention._flash_attention_forward",
}
KERNELS = {"sdpa": "sdpa", "flex_attention": "flex", "flash_attention_2": "flash", "flash_attention_3": "flash"}
HUB = "hub kernel"


def check_attention(name: str | None, device: torch.device, precision: str) -> None:
    """Raise Refused for an attention whose package or device is not here: transformers would take another.

    So it is for one in a precision that its kernels do not have, which fails at the first token.
    """
    if name in (None, "eager", "sdpa") or (name == "flex_attention" and device.type == "cuda"):
        return
    asked = f"pytorch: attention_implementation={name!r}"
    here = "; eager, sdpa and flex_attention are here" if device.type == "cuda" else "; eager and sdpa are here"
    if name == "flex_attention":
        # With padded prompts, torch 2.13 writes C++ for it that no compiler takes.
        raise Refused(f"{asked} needs a GPU: torch's code for a CPU does not compile for every shape{here}")
    if name not in FLASH:
        _check_hub_kernel(name, asked, here)
        return
    module, package, least = FLASH[name]
    if device.type != "cuda":
        raise Refused(f"{asked} needs a GPU of compute capability {least[0]}.{least[1]}{here}")
    found = torch.cuda.get_device_capability(device)
    # FlashAttention 3 is written for Hopper alone.
    if found < least or (name == "flash_attention_3" and found[0] != least[0]):
        told = f"{least[0]}.{least[1]}" + ("" if name == "flash_attention_3" else " or newer")
        raise Refused(f"{asked} needs compute capability {told}, this GPU has {found[0]}.{found[1]}{here}")
    if importlib.util.find_spec(module) is None:
        raise Refused(f"{asked} needs the package {package!r}, which is not installed{here}")
    if precision == "float32":
        raise Refused(f"{asked} has kernels of float16 and bfloat16 alone; take one of these{here}")


def _check_hub_kernel(name: str | None, asked: str, here: str) -> None:
    """Load it as transformers will for the model: who asks for it on this machine learns now what is against it."""
    if importlib.util.find_spec("kernels") is None:
        raise Refused(f"{asked} comes from the hub by the package 'kernels', which is not installed{here}")
    try:
        from transformers.integrations.hub_kernels import load_and_register_attn_kernel

        load_and_register_attn_kernel(name)
    # The last two: a repository without an attention, or without the function that was named.
    except (ImportError, ValueError, UnboundLocalError, AttributeError) as fault:
        cause = " ".join(str(fault).split()).rstrip(".")
        raise Refused(f"{asked} cannot be loaded here: {cause}{here}") from fault


class FusedCalls(TorchFunctionMode):  # type: ignore[misc]  # torch is not seen by mypy
    """Counts calls of PyTorch's fused attention while it is entered."""

    def __init__(self, calls: dict[str, int]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and call through."""
        self.calls["sdpa"] += func is scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


@contextmanager
def counted_kernels(configured: str) -> Iterator[dict[str, int]]:
    """How often each kernel is called meanwhile. What `configured` compiles runs without torch's functions watched."""
    calls = {"sdpa": 0, HUB: 0, **dict.fromkeys(CALLED, 0)}
    with ExitStack() as stack:
        if is_hub_kernel(configured):
            stack.enter_context(_registered(configured, calls))
        for kernel, place in CALLED.items():
            module = importlib.import_module(place.rpartition(".")[0])
            real = getattr(module, place.rpartition(".")[2], None)
            if real is not None:
                stack.enter_context(patch(place, _counting(real, kernel, calls)))
        if configured != "flex_attention":
            stack.enter_context(FusedCalls(calls))
        yield calls


@contextmanager
def _registered(name: str, calls: dict[str, int]) -> Iterator[None]:
    """Counts calls of what a hub kernel was registered as, which the model's layers look up by its name."""
    real = ALL_ATTENTION_FUNCTIONS[name]
    ALL_ATTENTION_FUNCTIONS.register(name, _counting(real, HUB, calls))
    try:
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS.register(name, real)


def is_hub_kernel(name: str) -> bool:
    """Whether it is the name of a repository."""
    return "/" in name


def _counting(real: Callable[..., Any], kernel: str, calls: dict[str, int]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls[kernel] += 1
        return real(*args, **kwargs)

    return call


def attention(configured: str, calls: dict[str, int]) -> str:
    """The implementation's name, unless the calls that it made belie it."""
    expected = HUB if is_hub_kernel(configured) else KERNELS.get(configured)
    if expected and not calls[expected]:
        return f"no {expected} call, though configured"
    if configured == "eager" and calls["sdpa"]:
        return "sdpa"
    return configured if expected == "sdpa" or not calls["sdpa"] else f"{configured}+sdpa"
