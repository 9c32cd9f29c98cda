"""Mixed into vLLM's worker processes: tells what they hold. Standard library and the engine's own modules only.

Answers are plain lists, dictionaries, texts and numbers, so that they travel between processes as they are.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch


class LemWorker:
    """Methods that the engine's owner calls by name; `self` is the worker."""

    def lem_facts(self: Any) -> dict[str, Any]:
        """What this worker runs, read from its live objects."""
        runner = self.model_runner
        model = runner.get_model()
        held: Counter[str] = Counter()
        devices = set()
        for parameter in model.parameters():
            held[_plain(parameter.dtype)] += parameter.numel() * parameter.element_size()
            devices.add(parameter.device.type)
        compilation = self.vllm_config.compilation_config
        layers = compilation.static_forward_context.values()
        backends = {layer.attn_backend.get_name() for layer in layers if hasattr(layer, "attn_backend")}
        methods = {type(part.quant_method).__name__ for part in model.modules() if hasattr(part, "quant_method")}
        return {
            "model_class": type(model).__name__,
            "parameter_bytes": dict(held),
            "precision": _plain(runner.dtype),
            "devices": sorted(devices),
            "gpu": _gpu(self.device),
            "attention": sorted(backends),
            "linear_methods": sorted(methods),
            "kv_cache_dtypes": sorted({_plain(cache.dtype) for cache in _tensors(runner.kv_caches)}),
            "kv_cache_bytes": _held(_tensors(runner.kv_caches)),
            "weights_bytes": getattr(runner, "model_memory_usage", None),
            "compilation_mode": int(compilation.mode),
            "cudagraph_mode": getattr(compilation.cudagraph_mode, "name", str(compilation.cudagraph_mode)),
        }

    def lem_reset_peaks(self: Any) -> None:
        """Forget how much memory was used at most."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)

    def lem_peaks(self: Any) -> dict[str, Any] | None:
        """Peak bytes of tensors and of the allocator since they were reset; None on a CPU."""
        if self.device.type != "cuda":
            return None
        return {
            "device": _gpu(self.device),
            "allocated_bytes": torch.cuda.max_memory_allocated(self.device),
            "reserved_bytes": torch.cuda.max_memory_reserved(self.device),
        }


def _tensors(caches: Any) -> list[torch.Tensor]:
    """The caches' tensors; a layer may keep several."""
    found: list[torch.Tensor] = []
    for cache in caches:
        found += [cache] if isinstance(cache, torch.Tensor) else _tensors(cache)
    return found


def _held(caches: list[torch.Tensor]) -> int:
    """Bytes of the caches; layers of different kinds may share one storage."""
    storages = [cache.untyped_storage() for cache in caches]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _gpu(device: torch.device) -> str | None:
    """The UUID as NVML writes it: `GPU-…`."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None
