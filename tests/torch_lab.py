"""Run as a program in a process of its own, so that no test process imports torch: `python torch_lab.py FOLDER`.

Prints one JSON object: `sabotaged` (the observed configuration of a model that was changed behind its back, by name),
`shapes` (parameters and rotary settings of every bundled shape, built without memory), and saves `synthetic:tiny` in
float32 to FOLDER as a model folder without a tokenizer.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest_lem.engines

ENGINES = Path(pytest_lem.engines.__file__).parent
runpy.run_path(str(ENGINES / "child" / "__main__.py"))["load_package"]()

import torch  # noqa: E402 - the child's package has to exist first
from lem_child import pytorch, pytorch_model, pytorch_weights  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # noqa: E402
from transformers.models.llama.modeling_llama import eager_attention_forward  # noqa: E402

OPTIONS = {"attention_implementation": "sdpa", "use_cache": True, "num_threads": 1}
REQUEST = {
    "model": "synthetic:tiny",
    "source": "synthetic",
    "location": str(ENGINES / "synthetic" / "tiny.json"),
    "precision": "bfloat16",
    "device": "cpu",
    "gpus": (),
    "seed": 0,
    "options": OPTIONS,
}


def nothing(model):
    return model


def other_precision(model):
    return model.to(torch.float32)


def mixed_precision():
    """Two precisions, as a model that keeps some of its layers in float32 would hold them."""
    layers = torch.nn.Linear(8, 8, dtype=torch.float32), torch.nn.Linear(8, 8, dtype=torch.bfloat16)
    return pytorch_weights.precision(torch.nn.Sequential(*layers))


def other_attention(model):
    model.set_attn_implementation("eager")
    return model


def attention_that_is_not_what_it_says(model):
    ALL_ATTENTION_FUNCTIONS["sdpa"] = eager_attention_forward
    return model


def no_cache(model):
    generate = model.generate

    def without_cache(**keywords):
        keywords["generation_config"].use_cache = False
        return generate(**keywords)

    model.generate = without_cache
    return model


def other_threads(model):
    torch.set_num_threads(2)
    return model


SABOTAGES = (nothing, other_precision, other_attention, no_cache, other_threads)


def observe(sabotage):
    load = pytorch_model.load_model
    pytorch_model.load_model = lambda request, device: sabotage(load(request, device))
    try:
        return pytorch.Adapter().load(REQUEST, lambda text: None)
    finally:
        pytorch_model.load_model = load


def shape(name):
    text = json.loads((ENGINES / "synthetic" / f"{name}.json").read_text())
    config = AutoConfig.for_model(text.pop("model_type"), **text)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {"parameters": sum(each.numel() for each in model.parameters()), "rope": config.rope_parameters}


def main(folder):
    pytorch_model.load_model({**REQUEST, "precision": "float32"}, torch.device("cpu")).save_pretrained(folder)
    shapes = {path.stem: shape(path.stem) for path in (ENGINES / "synthetic").glob("*.json")}
    sabotaged = {each.__name__: observe(each) for each in SABOTAGES}
    sabotaged["mixed_precision"] = {**sabotaged["nothing"], "precision": mixed_precision()}
    # Last, because it changes transformers itself.
    sabotaged["attention_that_is_not_what_it_says"] = observe(attention_that_is_not_what_it_says)
    sys.stdout.write(json.dumps({"request": REQUEST, "sabotaged": sabotaged, "shapes": shapes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
