"""One factor at a time from a base: what precision, quantisation, attention, compilation and the cache cost.

    pytest benchmarks/test_factors.py --lem-model=synthetic:llama-3.2-1b

Wants an NVIDIA GPU of compute capability 8.9 or newer, and `pip install "pytest-lem[pytorch,quantization]"`; thirteen
rows a model and three attention kernels of other packages, half an hour a model, or a quarter of an hour with
`--lem-rounds=5 --lem-round-seconds=1.5`, or half of either with `-n auto` on two GPUs. The row of sdpa is the base over
again, and stands where a second lane begins: it tells how far two rows of one setting, or two boards, lie apart.
`--lem-model=synthetic:llama-3.2-1b,synthetic:llama-3.1-8b` measures both. A row that the machine cannot run fails with
what is missing, the others go on. As evidence, which `make evidence` makes a table of:

    python benchmarks/engines/keep.py .lem/runs/RUN/report.json factors-h100 --no-gaps \
        --title "One factor at a time, PyTorch, H100" --command "pytest benchmarks/test_factors.py …"
"""

import pytest

WORK = {"backend": "pytorch", "model": "synthetic:tiny", "precision": "bfloat16"}
WORK |= {"batch": 8, "prompt_tokens": 256, "output_tokens": 64, "warmup_seconds": 8.0}
STATIC = {"cache_implementation": "static"}
FACTORS = [
    {},
    {"precision": "float16"},
    {"precision": "float32"},
    {"precision": "float32", "pytorch": {"tf32": True}},
    {"pytorch": {"quantization": "8bit"}},
    {"pytorch": {"quantization": "4bit"}},
    {"pytorch": {"quantization": "int8_weight_only"}},
    {"pytorch": {"attention_implementation": "sdpa"}},  # what the base runs, in the second lane where there are two
    {"pytorch": {"attention_implementation": "eager"}},
    {"pytorch": {"attention_implementation": "flex_attention"}},
    {"pytorch": {"torch_compile": True}},
    {"pytorch": {**STATIC, "torch_compile": False}},
    {"pytorch": {**STATIC, "torch_compile": "reduce-overhead"}},
]


# Kernels of other packages: where they are not, the engine refuses before a model is made, and the table tells why.
KERNELS = ["flash_attention_2", "flash_attention_3", "kernels-community/flash-attn2"]


@pytest.mark.lem(**WORK, experiments=[{"pytorch": {"attention_implementation": name}} for name in KERNELS])
def test_kernels(lem_backend, lem_workload, lem_energy):
    assert lem_energy.measure(lem_backend, lem_workload).tokens_per_second > 0
    assert lem_backend.observed["options"]["attention_implementation"] in KERNELS


@pytest.mark.lem(**WORK, experiments=FACTORS)
def test_factors(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
    asked, observed = lem_backend.spec, lem_backend.observed
    assert observed["options"]["quantization"] == asked.options.get("quantization")
    assert result.get("weights_bytes") == observed["weights_bytes"]
