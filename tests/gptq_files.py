"""Run as a program: `python gptq_files.py FOLDER` writes small Llamas of known 4-bit weights.

`gptq` (symmetric) and `awq` (with zero points) have them packed as those methods' files have them, `gptq_float` and
`awq_float` are the same weights unpacked: what the packed ones have to compute. Packed here and not by the package that
reads them, which would prove itself with itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

BITS, GROUP = 4, 32
NIBBLES_OF_AWQ = (0, 2, 4, 6, 1, 3, 5, 7)  # the column that each four bits of a word hold, from the lowest on
SHAPE = {"vocab_size": 256, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
TOLD = {
    "gptq": {"quant_method": "gptq", "desc_act": False, "sym": True, "checkpoint_format": "gptq"},
    "awq": {"quant_method": "awq", "zero_point": True, "version": "gemm"},
}


def packed(columns, order=range(8)):
    """int32 words, each of eight neighbouring columns."""
    parts = columns.to(torch.int64).reshape(len(columns), -1, 8)
    word = sum(parts[..., column] << (BITS * place) for place, column in enumerate(order))
    return torch.where(word >= 1 << 31, word - (1 << 32), word).to(torch.int32).contiguous()


def quantised(weight, symmetric):
    """4-bit weights [in, out], zeros and scales [groups, out] of a weight [out, in]."""
    groups = weight.float().T.reshape(-1, GROUP, len(weight))
    if symmetric:
        scales = (groups.abs().amax(1) / 7).half()
        zeros = torch.full_like(scales, 8, dtype=torch.int32)
    else:
        low, high = groups.amin(1).clamp(max=0), groups.amax(1).clamp(min=0)
        scales = ((high - low) / 15).half()
        zeros = (-low / scales.float()).round().clamp(0, 15).to(torch.int32)
    bits = (groups / scales.float()[:, None] + zeros[:, None]).round().clamp(0, 15).to(torch.int32)
    return bits.reshape(-1, len(weight)), zeros, scales


def unpacked(bits, zeros, scales):
    repeated = (each.repeat_interleave(GROUP, 0) for each in (zeros, scales.float()))
    zero, scale = repeated
    return ((bits - zero) * scale).T.contiguous()


def tensors(method, bits, zeros, scales):
    """What a layer's files hold."""
    if method == "awq":
        words = {"qweight": packed(bits, NIBBLES_OF_AWQ), "qzeros": packed(zeros, NIBBLES_OF_AWQ)}
        return {**words, "scales": scales}
    # Its first format stores zeros less one; along the inputs for the weights, along the outputs for the zeros.
    words = {"qweight": packed(bits.T).T.contiguous(), "qzeros": packed(zeros - 1)}
    return {**words, "scales": scales, "g_idx": torch.arange(len(bits), dtype=torch.int32) // GROUP}


def save(folder, held, **told):
    folder.mkdir(parents=True)
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    config = LlamaConfig(**SHAPE, tie_word_embeddings=False).to_dict() | {"architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config | told))


def write(folder):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False, initializer_range=0.1))
    linear = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    left = {name: tensor for name, tensor in weights.items() if name.removesuffix(".weight") not in linear}
    for method, told in TOLD.items():
        held, whole = dict(left), {name: tensor.float() for name, tensor in left.items()}
        for name in linear:
            made = quantised(weights[f"{name}.weight"], method == "gptq")
            held |= {f"{name}.{part}": tensor for part, tensor in tensors(method, *made).items()}
            whole[f"{name}.weight"] = unpacked(*made)
        config = {**told, "bits": BITS, "group_size": GROUP}
        save(folder / method, held, dtype="float16", quantization_config=config)
        save(folder / f"{method}_float", whole, dtype="float32")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
