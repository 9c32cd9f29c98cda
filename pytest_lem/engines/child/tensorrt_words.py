"""The one table of what users write in `tensorrt={...}`, and the keywords of TensorRT-LLM that each means.

A path with dots lies in a section: `kv_cache_config.dtype` is the field `dtype` of that argument. Standard library
only: the parent reads the table too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RUNTIMES = ("pytorch", "engine")
# Weight-only, so that no data set is needed to calibrate.
BITS = {"8bit": "W8A16", "8-bit": "W8A16", "4bit": "W4A16", "4-bit": "W4A16"}


@dataclass(frozen=True)
class Word:
    """One option: its paths for each runtime (none: it has no such thing, and `why` says what to take instead).

    `turn` changes the value on its way: `not` inverts it, `bits` takes `8bit` and `4bit` for an algorithm, `switch`
    turns a whole section on (by its own defaults) or off (None), `path` makes it a folder.
    """

    name: str
    pytorch: tuple[str, ...]
    engine: tuple[str, ...]
    turn: str = ""
    why: str = ""

    def paths(self, runtime: str) -> tuple[str, ...]:
        """Where the value goes."""
        return self.pytorch if runtime == "pytorch" else self.engine


def _both(name: str, *paths: str) -> Word:
    return Word(name, paths or (name,), paths or (name,))


BUILDS = "the PyTorch runtime builds no engine; leave it out, or take runtime='engine'"
WORDS = (
    Word("max_batch_size", ("max_batch_size",), ("max_batch_size", "build_config.max_batch_size")),
    Word("max_input_len", ("max_input_len",), ("max_input_len", "build_config.max_input_len")),
    Word("max_seq_len", ("max_seq_len",), ("max_seq_len", "build_config.max_seq_len")),
    Word("max_num_tokens", ("max_num_tokens",), ("max_num_tokens", "build_config.max_num_tokens")),
    _both("kv_cache_free_gpu_mem_fraction", "kv_cache_config.free_gpu_memory_fraction"),
    _both("enable_block_reuse", "kv_cache_config.enable_block_reuse"),
    Word("kv_cache_dtype", ("kv_cache_config.dtype",), ("quant_config.kv_cache_quant_algo",)),
    Word(
        "enable_trt_overlap",
        ("disable_overlap_scheduler",),
        (),
        turn="not",
        why="the engine runtime schedules in C++ and has no such switch; leave it out, or take runtime='pytorch'",
    ),
    Word("cuda_graphs", ("cuda_graph_config",), ("extended_runtime_perf_knob_config.cuda_graph_mode",), turn="switch"),
    Word(
        "cuda_graph_batch_sizes",
        ("cuda_graph_config.batch_sizes",),
        (),
        why="the engine runtime captures what comes; cuda_graphs turns that on",
    ),
    Word(
        "cuda_graph_padding",
        ("cuda_graph_config.enable_padding",),
        (),
        why="the engine runtime pads no batch; leave it out, or take runtime='pytorch'",
    ),
    Word(
        "quantization",
        (),
        ("quant_config.quant_algo",),
        turn="bits",
        why="the PyTorch runtime reads it from the model's files; give a model that is quantised, or runtime='engine'",
    ),
    Word(
        "batching_type",
        (),
        ("batching_type",),
        why="the PyTorch runtime always batches in flight; batch_wait_timeout_ms has it wait for full batches",
    ),
    Word("fast_build", (), ("fast_build",), why=BUILDS),
    Word("engine_cache", (), ("enable_build_cache.cache_root",), turn="path", why=BUILDS),
    _both("enable_chunked_prefill"),
    _both("load_format"),
    _both("tensor_parallel_size"),
    _both("pipeline_parallel_size"),
)
TABLE = {word.name: word for word in WORDS}
"""By their names. `max_output_len` has no path: with `max_input_len` it makes `max_seq_len`."""


def turned(word: Word, value: Any, runtime: str) -> Any:
    """The value as TensorRT-LLM takes it."""
    if word.turn == "not":
        return not value
    if word.turn == "bits":
        return BITS.get(value, value)
    if word.turn == "switch" and runtime == "pytorch":
        return {} if value else None
    return value


def with_lengths(options: dict[str, Any]) -> dict[str, Any]:
    """`options` with `max_input_len` and `max_output_len` as the `max_seq_len` that they mean.

    Raises ValueError, one line, where one of them is missing or contradicts it.
    """
    output = options.get("max_output_len")
    if output is None:
        return options
    longest = options.get("max_input_len")
    if longest is None:
        raise ValueError("max_output_len needs max_input_len beside it: TensorRT-LLM knows only their sum, max_seq_len")
    whole = longest + output
    if options.get("max_seq_len") not in (None, whole):
        raise ValueError(f"max_seq_len={options['max_seq_len']} is not max_input_len + max_output_len = {whole}")
    return {name: value for name, value in options.items() if name != "max_output_len"} | {"max_seq_len": whole}
