"""Weights of fewer bits: what is asked for in the quantisers' own words, and refused where it cannot be."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from .faults import Refused
from .pytorch_outline import outline
from .pytorch_weights import stacked_experts

EXTRA = "install it with: pip install 'pytest-lem[quantization]'"
PACKAGES = ("bitsandbytes", "torchao")
OF_FILES = (*PACKAGES, "compressed-tensors", "gptqmodel")
OF_GPTQMODEL = ("awq", "gptq")
OF_PACKAGE = {"4bit": "bitsandbytes", "8bit": "bitsandbytes"}
TORCHAO = {
    "int8_weight_only": "Int8WeightOnlyConfig",
    "int8_dynamic_activation_int8_weight": "Int8DynamicActivationInt8WeightConfig",
    "int4_weight_only": "Int4WeightOnlyConfig",
    "float8_weight_only": "Float8WeightOnlyConfig",
}
# The int4 kernel that is torch's own: its group of weights that share a scale, and the capability that it needs.
INT4_GROUP = 128
FIRST_WITH_INT4 = (8, 0)


def check_quantization(request: dict[str, Any], config: Any, device: torch.device, whose: str = "the model's") -> None:
    """Raise Refused, before weights are made or read, for a quantiser, device or size that is not here.

    `config` is the model's own; one that is quantised already is left to transformers' check of its quantiser. `whose`
    files they are is told.
    """
    asked = request["options"].get("quantization")
    stored = getattr(config, "quantization_config", None)
    if stored is not None:
        _check_stored(config, asked, device, whose)
    elif asked:
        _check_package(asked)
        if asked == "int4_weight_only":
            _check_int4(config, request["precision"], device)
        check_experts(asked, config)


def _check_package(asked: str) -> None:
    package = OF_PACKAGE.get(asked, "torchao")
    if importlib.util.find_spec(package) is None:
        told = _there(PACKAGES)
        raise Refused(f"pytorch: quantization={asked!r} needs {package}, which is not installed ({told}); {EXTRA}")


def _there(packages: Sequence[str]) -> str:
    """Which of these are installed, in words."""
    found = [name for name in packages if importlib.util.find_spec(name.replace("-", "_"))]
    told = [f"{name} {importlib.metadata.version(name)}" for name in found]
    return f"here is {', '.join(told)}" if told else "no quantiser is here"


def _check_int4(config: Any, precision: str, device: torch.device) -> None:
    asked = "pytorch: quantization='int4_weight_only'"
    if device.type != "cuda":
        raise Refused(f"{asked} needs a GPU; '4bit' (bitsandbytes) and 'int8_weight_only' run on this device")
    if torch.cuda.get_device_capability(device) < FIRST_WITH_INT4:
        found = "{}.{}".format(*torch.cuda.get_device_capability(device))
        raise Refused(f"{asked} needs compute capability 8.0 or newer, this GPU has {found}; take '4bit'")
    if precision != "bfloat16":
        raise Refused(f"{asked} computes in bfloat16 alone; take precision bfloat16, or '4bit'")
    check_groups(config)


def check_groups(config: Any) -> None:
    """Raise Refused for a linear layer that torchao would leave as it is: its inputs make no whole groups."""
    for name, module in outline(config).named_modules():
        if isinstance(module, torch.nn.Linear) and module.in_features % INT4_GROUP:
            raise Refused(
                f"pytorch: quantization='int4_weight_only' takes groups of {INT4_GROUP} inputs, and {name} has "
                f"{module.in_features}; take '4bit' or 'int8_weight_only'"
            )


def check_experts(asked: str, config: Any) -> None:
    """Raise Refused for experts that are no linear layers: quantisers would leave most of the model as it is."""
    for name, module in stacked_experts(outline(config)):
        raise Refused(
            f"pytorch: quantization={asked!r} is made of linear layers, and the experts in {name} "
            f"({type(module).__name__}) are none: they would stay as they are; leave it out, or take files whose "
            "experts are quantised already"
        )


def stored_method(config: Any, options: dict[str, Any]) -> str | None:
    """How the model's files are quantised, in the word of their own configuration; None where they are not."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return "gguf" if options.get("gguf_file") else None
    told = stored if isinstance(stored, dict) else stored.to_dict()
    return str(told.get("quant_method"))


def _check_stored(config: Any, asked: str | None, device: torch.device, whose: str) -> None:
    """A model whose files are quantised: what loads them has to be here."""
    stored, method = config.quantization_config, stored_method(config, {})
    if asked:
        raise Refused(f"pytorch: quantization={asked!r}: {whose} files are quantised already ({method}); drop it")
    from transformers.quantizers.auto import AutoHfQuantizer

    try:
        quantizer = AutoHfQuantizer.from_config(stored, pre_quantized=True)
        quantizer.validate_environment(device_map={"": str(device)}, weights_only=True)
        if method in OF_GPTQMODEL:
            # transformers looks whether it is there, not whether what it needs is: told here, not while loading.
            importlib.import_module("gptqmodel")
    except (ImportError, RuntimeError, ValueError) as fault:
        cause = " ".join(str(fault).split())
        told = f"pytorch: {whose} files are quantised ({method}), which cannot run here ({_there(OF_FILES)})"
        raise Refused(f"{told}: {cause}") from fault


def quantization_config(asked: str, precision: str) -> Any:
    """What transformers calls it. Four bits are nf4, which computes in the precision that was asked for."""
    if asked in OF_PACKAGE:
        # It tells at every multiplication that int8 casts its inputs to float16.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if asked == "4bit":
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, precision)
        )
    if asked == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    import torchao.quantization

    # Its recommended settings would change torch's own, float32's precision among them, for all that runs.
    fields: dict[str, Any] = {"set_inductor_config": False}
    if asked == "int4_weight_only":
        fields |= {"group_size": INT4_GROUP, "int4_packing_format": "tile_packed_to_4d"}
    return transformers.TorchAoConfig(getattr(torchao.quantization, TORCHAO[asked])(**fields))
