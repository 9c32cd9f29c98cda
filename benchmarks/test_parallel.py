"""One GPU or two: what it costs or gains to share a model or its requests, in joules and in time.

    pytest benchmarks/test_parallel.py --lem-backend=pytorch --lem-model=synthetic:llama-3.1-8b
    pytest benchmarks/test_parallel.py --lem-backend=vllm --lem-model=synthetic:llama-3.1-8b

Needs two GPUs; with fewer all but the first of an engine's settings fail and say so. PyTorch has nine rows: one GPU,
tensor parallel, pipeline parallel, and layers that one process places on both (`device_map`), at batch 1 and 32 each;
two replicas at batch 32, 16 requests each, as one request is nothing to share. vLLM has four. A row takes a minute or
two once its engine has started (of an 8B shape: 20 s, of vLLM a minute and a half), so that PyTorch takes a quarter of
an hour, or half of it with `--lem-rounds=5 --lem-round-seconds=1.5`, and vLLM ten minutes; `--lem-quick` takes a third
of it. `--collect-only` guesses how long.

A row's J/token are the joules of all its GPUs over the tokens of its requests, each counted once; the GPUs' own
readings, with their intervals, are in the run's `raw/`, a file each. Pipeline stages and placed layers work one at a
time: they spread memory, and the GPU that waits is paid for.
"""

import pytest


@pytest.mark.lem(
    model="synthetic:tiny",
    precision="bfloat16",
    batch=[1, 32],
    prompt_tokens=256,
    output_tokens=64,
    warmup_seconds=8.0,
    experiments=[
        {"backend": "vllm", "vllm": [{"max_model_len": 2048}, {"max_model_len": 2048, "tensor_parallel_size": 2}]},
        {"backend": "pytorch", "pytorch": [{}, {"tensor_parallel_size": 2}, {"pipeline_parallel_size": 2}]},
        {"backend": "pytorch", "pytorch": {"data_parallel_size": 2}, "batch": 32},
        {"backend": "pytorch", "pytorch": {"device_map": "auto"}, "gpus": 2},
    ],
)
def test_parallel(lem_backend, lem_workload, lem_energy):
    result = lem_energy.measure(lem_backend, lem_workload)
    assert result.tokens_per_second > 0
    assert len(lem_backend.observed["gpus"]) == lem_backend.spec.gpus
