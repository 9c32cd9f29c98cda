"""Read from live objects what the model really is and does."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import GenerationConfig

from . import pytorch_weights as weights
from .architecture import architecture
from .libraries import versions
from .pytorch_arithmetic import arithmetic
from .pytorch_assistance import Drafts
from .pytorch_attention import attention, counted_kernels
from .pytorch_compile import compile_model, compiled, forget_compiled, graphs_left_out
from .pytorch_decoding import Manner, generation
from .pytorch_memory import gpu_uuid
from .pytorch_placement import placement, read_device_map
from .pytorch_ranks import pipeline_parallel_size, tensor_parallel_size

# A note and no difference: which of them matter, only torch's own log can tell.
GRAPHS_LEFT_OUT = "torch left out {} CUDA graphs that it was to record (TORCH_LOGS=perf_hints says why)"
DEQUANTISED = "the model's files are quantised ({}), but transformers dequantised them: its linear layers run in {}"


@dataclass
class Forwards:
    """What the forward passes of a probe were given: tokens at a time, and the class of the cache."""

    widths: list[int] = field(default_factory=list)
    caches: set[str] = field(default_factory=set)


def observe(
    model: Any, options: dict[str, Any], manner: Manner, drafts: Drafts | None, stored: str | None = None
) -> dict[str, Any]:
    """The observed configuration of `model`; runs it, a few tokens at a time, to see cache, kernel and assistance.

    Compiles the model where that is asked for, and leaves nothing compiled behind. `stored` is how its files are
    quantised, which the model itself forgets where transformers dequantises them.
    """
    left_out = graphs_left_out()
    read_back = _options(model, options, manner, drafts)  # first: what the model is may change when it runs
    left_out = graphs_left_out() - left_out
    text_config = model.config.get_text_config()
    devices = {parameter.device for parameter in model.parameters()}
    precision = weights.precision(model)
    return {
        "precision": precision,
        "device": "+".join(sorted({device.type for device in devices})),
        "gpus": sorted(gpu_uuid(device) for device in devices if device.type == "cuda"),
        "options": read_back,
        "placement": placement(model) if options.get("device_map") else None,
        "attention_class": _attention_class(model),
        "linear_layers": weights.linear_layers(model),
        "model_class": type(model).__name__,
        "experts_implementation": _experts(text_config),
        "architecture": architecture(text_config),
        "parameters": weights.parameters(model),
        "weights_bytes": weights.weights_bytes(model),
        "embedding_bytes": weights.embedding_bytes(model),
        "assistant_weights_bytes": weights.weights_bytes(manner.assistant) if manner.assistant is not None else None,
        "vocab_size": text_config.vocab_size,
        "versions": versions(
            {"torch": torch.__version__, "transformers": transformers.__version__}, torch.version.cuda
        ),
        "executable": sys.executable,
        "notes": [
            *([] if stored is None or read_back["quantization"] else [DEQUANTISED.format(stored, precision)]),
            *([GRAPHS_LEFT_OUT.format(left_out)] if left_out else []),
        ],
        "imported": sorted(name for name in ("pytest_lem", "pydantic", "pytest") if name in sys.modules),
    }


def _options(model: Any, options: dict[str, Any], manner: Manner, drafts: Drafts | None) -> dict[str, Any]:
    """What runs in the place of each option, by the passes that were seen and the modules that are there."""
    plain: dict[str, Any] = {
        name: manner.fields[name] for name in ("use_cache", "cache_implementation") if name in manner.fields
    }
    forwards, calls = _probe(model, generation({}, 2, Manner(plain | {"disable_compile": True})))
    return {
        "attention_implementation": attention(model.config._attn_implementation, calls),
        "use_cache": forwards.widths[1:] == [1],
        "cache_implementation": _cache(forwards),
        "quantization": weights.quantization(model),
        **_compilation(model, options, manner),
        **_assistance(model, options, manner, drafts),
        **arithmetic(),
        "num_threads": torch.get_num_threads(),
        # What serves requests that come one by one; a wave is always one call of generate.
        "traffic": options["traffic"],
        # Dequantised weights keep no trace of their file; from_pretrained fails where it cannot read it.
        "gguf_file": options.get("gguf_file"),
        "tensor_parallel_size": tensor_parallel_size(model),
        "pipeline_parallel_size": pipeline_parallel_size(model),
        "data_parallel_size": 1,  # of one process; replicas count themselves
        "device_map": read_device_map(model, options.get("device_map")),
    }


def _generate(model: Any, config: GenerationConfig, **keywords: Any) -> None:
    prompt = torch.zeros((1, 4), dtype=torch.long, device=model.device)
    model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=config, **keywords)


def _probe(model: Any, config: GenerationConfig) -> tuple[Forwards, dict[str, int]]:
    """The forward passes of a two-token run (one token wide after the first, where a cache works), kernels by calls."""
    seen = Forwards()

    def note(_module: Any, _args: Any, kwargs: Any, _output: Any) -> None:
        seen.widths.append(kwargs["input_ids"].shape[1])
        seen.caches.add(type(kwargs.get("past_key_values")).__name__)

    handle = model.register_forward_hook(note, with_kwargs=True)
    with counted_kernels(model.config._attn_implementation) as calls:
        _generate(model, config)
    handle.remove()
    return seen, calls


def _cache(forwards: Forwards) -> str | None:
    """The kind of cache, by the class that the model was handed; None where it has none."""
    kinds = {name.removesuffix("Cache").lower() for name in forwards.caches - {"NoneType"}}
    return "+".join(sorted(kinds)) or None


def _compilation(model: Any, options: dict[str, Any], manner: Manner) -> dict[str, Any]:
    """How the model was compiled: its prompt's pass where the cache grows, a step where it is static."""
    asked = options.get("torch_compile")
    static = manner.fields.get("cache_implementation") == "static"
    forget_compiled(model)
    compile_model(model, options)
    if asked or (static and asked is None):
        _generate(model, generation({}, 2 if static else 1, manner))
    mode, backend = compiled(model)
    forget_compiled(model)
    return {"torch_compile": (asked is True and mode == "default") or mode or False, "torch_compile_backend": backend}


def _assistance(model: Any, options: dict[str, Any], manner: Manner, drafts: Drafts | None) -> dict[str, Any]:
    """Who really drafted, and how many tokens at once."""
    if drafts is None:
        return {}
    keywords = {} if manner.assistant is None else {"assistant_model": manner.assistant}
    asked = options.get("num_assistant_tokens")
    drafts.forget()
    # Room for one whole draft, and for the token that the model itself makes of it.
    _generate(model, generation({}, (asked or 3) + 1, manner), **keywords)
    facts = drafts.facts
    mine = facts.get("assistant") is manner.assistant
    return {
        "prompt_lookup_num_tokens": facts.get("num_output_tokens"),
        "assistant_model": options.get("assistant_model") if mine else None,
        "num_assistant_tokens": drafts.longest if asked else facts.get("num_assistant_tokens"),
    }


def _attention_class(model: Any) -> str | None:
    names = (type(module).__name__ for module in model.modules())
    return next((name for name in names if name.endswith("Attention")), None)


def _experts(text_config: Any) -> str | None:
    """How a mixture of experts is computed; None for a dense model."""
    experts = getattr(text_config, "num_experts", None) or getattr(text_config, "num_local_experts", None)
    return getattr(text_config, "_experts_implementation", None) if experts else None
