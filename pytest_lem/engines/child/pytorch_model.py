"""Make or load the model, directly on the device and in the precision that was asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from .faults import Refused
from .pytorch_parallel import Make, split, spread
from .pytorch_quantization import quantization_config
from .pytorch_split import is_split

PREFIX = "synthetic:"
SYNTHETIC = Path(__file__).parents[1] / "synthetic"


def find_device(request: dict[str, Any]) -> torch.device:
    """The torch device of a load request: rank i has device i, and a replica sees its own GPU alone.

    Raises Refused without CUDA, or a GPU a rank.
    """
    if request["device"] == "cpu":
        return torch.device("cpu")
    alone = request.get("own_gpu", False)
    asked = f"device 'cuda' was asked for, but torch {torch.__version__} of {sys.executable}"
    if torch.version.cuda is None and torch.version.hip is None:
        raise Refused(f"{asked} is built without CUDA; install a CUDA build of torch, or ask for device 'cpu'")
    if not torch.cuda.is_available():
        raise Refused(f"{asked} sees no GPU; check the driver and CUDA_VISIBLE_DEVICES, or ask for device 'cpu'")
    found, needed = torch.cuda.device_count(), 1 if alone else request.get("ranks", 1)
    if request["options"].get("device_map"):
        needed = len(request["gpus"])
    if alone and found > 1:
        raise Refused(
            f"GPUs: a replica sees {found} instead of its own, since something asked for them before it was given one; "
            "see what this Python imports at its start (.pth files, sitecustomize)"
        )
    if found != needed:
        raise Refused(f"GPUs: {found} were given, but this engine runs on {needed}; give it {needed}")
    return torch.device("cuda", 0 if alone else request.get("rank", 0))


def source_of(name: str) -> dict[str, str]:
    """The entries `source` and `location` of a load request, for a second model that the parent has looked up."""
    if name.startswith(PREFIX):
        return {"source": "synthetic", "location": str(SYNTHETIC / f"{name.removeprefix(PREFIX)}.json")}
    folder = Path(name).expanduser()
    return {"source": "folder", "location": str(folder)} if folder.is_dir() else {"source": "hub", "location": name}


def model_config(request: dict[str, Any]) -> Any:
    """The model's configuration, read without its weights."""
    if request["source"] == "synthetic":
        with open(request["location"], encoding="utf-8") as file:
            shape = json.load(file)
        return AutoConfig.for_model(shape.pop("model_type"), **shape)
    gguf_file = request["options"].get("gguf_file")
    return AutoConfig.from_pretrained(request["location"], **({"gguf_file": gguf_file} if gguf_file else {}))


def load_model(request: dict[str, Any], device: torch.device) -> Any:
    """The model of a load request, for inference, with none of its files' own sampling defaults."""
    options, dtype = request["options"], getattr(torch, request["precision"])
    keywords: dict[str, Any] = {"dtype": dtype}
    if options.get("attention_implementation"):
        keywords["attn_implementation"] = options["attention_implementation"]
    if options.get("quantization"):
        keywords["quantization_config"] = quantization_config(options["quantization"], request["precision"])
    make: Make = _random_model if request["source"] == "synthetic" else _stored_model
    if is_split(options):
        make = split(make)
    elif options.get("device_map"):
        make = spread(make)
    transformers.utils.logging.disable_progress_bar()
    model = make(request, device, keywords)
    model.eval()
    # generate() fills what a request leaves open from the model's own defaults: temperatures, end tokens, caches.
    model.generation_config = GenerationConfig()
    transformers.utils.logging.set_verbosity_error()
    return model


def _random_model(request: dict[str, Any], device: torch.device, keywords: dict[str, Any]) -> Any:
    """Random weights, drawn on the device in their own precision: nothing passes through the host's memory.

    To be quantised, they go the way of a file's weights.
    """
    quantised = keywords.pop("quantization_config", None)
    config = model_config(request)
    torch.manual_seed(request["seed"])
    with device:
        model = AutoModelForCausalLM.from_config(config, **keywords)
    if quantised is None:
        return model
    return _placed(
        type(model).from_pretrained,
        None,
        device,
        config=model_config(request),
        quantization_config=quantised,
        state_dict=model.state_dict(),
        **keywords,
    )


def _stored_model(request: dict[str, Any], device: torch.device, keywords: dict[str, Any]) -> Any:
    """Weights from a folder or a hub; a GGUF file's are dequantised, so that the precision asked for is the one run."""
    gguf_file = request["options"].get("gguf_file")
    if not gguf_file:
        return _placed(AutoModelForCausalLM.from_pretrained, request["location"], device, **keywords)
    # Newer transformers keep the blocks packed where a kernel exists, older ones have no such class and never do.
    if hasattr(transformers, "GgufConfig"):
        keywords["quantization_config"] = transformers.GgufConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(request["location"], gguf_file=gguf_file, **keywords).to(device)


def _placed(load: Callable[..., Any], location: str | None, device: torch.device, **keywords: Any) -> Any:
    """Loaded onto the device itself: a quantised model cannot be moved. A rank's part is, where it is not there yet.

    Where a `device_map` was asked for, it says the places.
    """
    if "distributed_config" in keywords:
        return load(location, **keywords).to(device)
    if "device_map" in keywords:
        return load(location, **keywords)
    if device.type == "cuda":
        keywords["device_map"] = {"": device}
    return load(location, **keywords)
