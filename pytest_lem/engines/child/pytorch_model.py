"""Make or load the model, directly on the device and in the precision that was asked for."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from .faults import Refused
from .pytorch_parallel import Make, split


def find_device(request: dict[str, Any]) -> torch.device:
    """The torch device of a load request: rank i has device i. Raises Refused without CUDA, or a GPU a rank."""
    if request["device"] == "cpu":
        return torch.device("cpu")
    asked = f"device 'cuda' was asked for, but torch {torch.__version__} of {sys.executable}"
    if torch.version.cuda is None and torch.version.hip is None:
        raise Refused(f"{asked} is built without CUDA; install a CUDA build of torch, or ask for device 'cpu'")
    if not torch.cuda.is_available():
        raise Refused(f"{asked} sees no GPU; check the driver and CUDA_VISIBLE_DEVICES, or ask for device 'cpu'")
    found, ranks = torch.cuda.device_count(), request.get("ranks", 1)
    if found != ranks:
        raise Refused(f"GPUs: {found} were given, but this engine runs on {ranks}; give it {ranks}")
    return torch.device("cuda", request.get("rank", 0))


def load_model(request: dict[str, Any], device: torch.device) -> Any:
    """The model of a load request, for inference, with none of its files' own sampling defaults."""
    dtype = getattr(torch, request["precision"])
    keywords: dict[str, Any] = {"dtype": dtype}
    attention = request["options"].get("attention_implementation")
    if attention:
        keywords["attn_implementation"] = attention
    make: Make = _random_model if request["source"] == "synthetic" else _stored_model
    if request.get("ranks", 1) > 1:
        make = split(make)
    transformers.utils.logging.disable_progress_bar()
    model = make(request, device, keywords)
    model.eval()
    # generate() fills what a request leaves open from the model's own defaults: temperatures, end tokens, caches.
    model.generation_config = GenerationConfig()
    transformers.utils.logging.set_verbosity_error()
    return model


def _random_model(request: dict[str, Any], device: torch.device, keywords: dict[str, Any]) -> Any:
    """Random weights, drawn on the device in their own precision: nothing passes through the host's memory."""
    with open(request["location"], encoding="utf-8") as file:
        shape = json.load(file)
    config = AutoConfig.for_model(shape.pop("model_type"), **shape)
    torch.manual_seed(request["seed"])
    with device:
        return AutoModelForCausalLM.from_config(config, **keywords)


def _stored_model(request: dict[str, Any], device: torch.device, keywords: dict[str, Any]) -> Any:
    """Weights from a folder or a hub; a GGUF file's are dequantised, so that the precision asked for is the one run."""
    gguf_file = request["options"].get("gguf_file")
    if gguf_file:
        keywords["gguf_file"] = gguf_file
        # Newer transformers keep the blocks packed where a kernel exists, older ones have no such class and never do.
        if hasattr(transformers, "GgufConfig"):
            keywords["quantization_config"] = transformers.GgufConfig(dequantize=True)
    elif device.type == "cuda" and "distributed_config" not in keywords:
        keywords["device_map"] = {"": device}
    return AutoModelForCausalLM.from_pretrained(request["location"], **keywords).to(device)
