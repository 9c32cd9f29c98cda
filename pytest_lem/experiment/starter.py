"""The first experiment file of a user: short, commented, and valid as it stands."""

STARTER = """\
# yaml-language-server: $schema=lem.schema.json
#
# An experiment of pytest-lem. Measure it:     lem experiment {file}
# What each value is, and where it is said:    lem config show --why {file}
# Lists make one test each. A file says only what it changes: _extends: base.yaml

config_name: {name}
model_name: synthetic:tiny       # a folder or a hub name: meta-llama/Llama-3.2-1B
backend: pytorch                 # pytorch | vllm | tensorrt; [pytorch, vllm] compares them
fp_precision: bfloat16           # float32 | float16 | bfloat16

batching:
  batch_size: [1, 8]             # or a range: {{min: 1, max: 64, pow2: true}}
  strategy: static               # static | dynamic | sorted_static | sorted_dynamic

max_input_tokens: 128            # each prompt has exactly so many tokens
max_output_tokens: 32            # and each answer

decoder:
  preset: deterministic          # deterministic | standard | creative | factual

num_cycles: 1                    # launches of the engine: 3 and more tell how far they are apart

# What a test is judged by:
# budget:
#   joules_per_token: 0.5        # a test fails above it
# gate:
#   joules_per_token: 5%         # with --baseline NAME: fails where it got worse by more

# Every combination of what is listed, but those that are excluded:
# sweep:
#   fp_precision: [float16, bfloat16]
#   decoder.temperature: [0, 0.7]
#   exclude:
#     - {{fp_precision: float16, decoder.temperature: 0.7}}

# Requests that come over time instead of in batches:
# traffic_simulation: {{enabled: true, mode: poisson, target_qps: 4}}

# An engine's own options:
# pytorch:
#   attention_implementation: sdpa
# vllm:
#   gpu_memory_utilization: 0.9
# tensorrt:
#   kv_cache_free_gpu_mem_fraction: 0.9
"""


def starter(name: str, file: str) -> str:
    """The text of a file called `file` for a configuration called `name`."""
    return STARTER.format(name=name, file=file)
