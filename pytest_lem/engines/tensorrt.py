"""The TensorRT-LLM engine as the parent knows it: its options and where its adapter lies. Imports no tensorrt_llm.

Built to TensorRT-LLM's published contract, and not yet run on a real installation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from pytest_lem.engines.child.tensorrt_words import TABLE, with_lengths
from pytest_lem.engines.entry import EngineEntry
from pytest_lem.model.decoding import of_transformers
from pytest_lem.model.specs import Frozen, WorkloadSpec

NEEDS = (
    "pip install tensorrt-llm in an environment of its own (it pins another torch than vLLM does), or NVIDIA's "
    "container nvcr.io/nvidia/tensorrt-llm/release; then --lem-python=tensorrt=/path/to/its/python (docs/tensorrt.md)"
)


class TensorrtOptions(Frozen):
    """The section `tensorrt={...}` of a marker: options in common words, and TensorRT-LLM's own by their names.

    `engines/child/tensorrt_words.py` says which keyword each word means. Any other argument of the installed version's
    `LLM` passes too: the engine's process checks its name before it starts. `runtime` is `pytorch`, or `engine`, which
    builds a TensorRT engine first (1.0 to 1.2). `max_output_len` beside `max_input_len` makes `max_seq_len`.
    `enable_block_reuse` is off unless asked for: repeats of the same prompts would not be computed. `single_process`
    keeps an engine of one GPU in one process; None means so. `engine_cache` names a folder that keeps built engines.
    An engine that does not serve after `start_seconds` is killed: 600, or 3600 where it may be built first.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    runtime: Literal["pytorch", "engine"] = "pytorch"
    single_process: bool | None = None
    start_seconds: float | None = Field(default=None, gt=0)
    max_batch_size: int | None = Field(default=None, ge=1)
    max_input_len: int | None = Field(default=None, ge=1)
    max_output_len: int | None = Field(default=None, ge=1)
    max_seq_len: int | None = Field(default=None, ge=2)
    max_num_tokens: int | None = Field(default=None, ge=1)
    kv_cache_free_gpu_mem_fraction: float | None = Field(default=None, gt=0, le=1)
    enable_block_reuse: bool = False
    kv_cache_dtype: str | None = None
    enable_trt_overlap: bool | None = None
    cuda_graphs: bool | None = None
    cuda_graph_batch_sizes: list[int] | None = None
    cuda_graph_padding: bool | None = None
    quantization: str | None = None
    batching_type: Literal["STATIC", "INFLIGHT"] | None = None
    fast_build: bool | None = None
    engine_cache: str | None = None
    enable_chunked_prefill: bool | None = None
    load_format: Literal["auto", "dummy"] | None = None
    tensor_parallel_size: int | None = Field(default=None, ge=1)
    pipeline_parallel_size: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _reuse_of_a_section(cls, given: Any) -> Any:
        section = given.get("kv_cache_config") if isinstance(given, Mapping) else None
        if isinstance(section, Mapping) and "enable_block_reuse" in section:
            return {"enable_block_reuse": section["enable_block_reuse"], **given}
        return given

    @model_validator(mode="after")
    def _possible(self) -> Self:
        given = self.model_dump(exclude_none=True)
        with_lengths(given)
        for name in given:
            word = TABLE.get(name)
            if word is not None and not word.paths(self.runtime):
                raise ValueError(f"{name} with runtime={self.runtime!r}: {word.why}")
        if self.single_process and gpus(given) > 1:
            raise ValueError("single_process is for one GPU: several need a process each; leave it out")
        return self


def gpus(options: Mapping[str, Any]) -> int:
    """One GPU a rank: tensor × pipeline × context parallel."""
    names = ("tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size")
    sizes = [int(options.get(name) or 1) for name in names]
    return sizes[0] * sizes[1] * sizes[2]


def refuses(_options: Mapping[str, Any], workload: WorkloadSpec) -> tuple[str, str] | None:
    """Which field cannot be asked, and why: what no version draws by. What some do not have, the process checks."""
    if field := of_transformers(workload.decoding):
        return f"decoding.{field}", "TensorRT-LLM does not have it; leave it out, or take top_p"
    return None


def positions(options: Mapping[str, Any], _config: Mapping[str, Any]) -> int | None:
    """`max_seq_len`, or what makes it; what TensorRT-LLM makes of a model's configuration otherwise, it alone knows."""
    found: int | None = with_lengths(dict(options)).get("max_seq_len")
    return found


def builds(options: Mapping[str, Any]) -> bool:
    """The engine runtime builds one, or takes it from `engine_cache`."""
    return bool(options["runtime"] == "engine")


def start_seconds(options: Mapping[str, Any]) -> float:
    """What was asked for; otherwise ten minutes, and an hour where an engine may be built."""
    asked: float | None = options.get("start_seconds")
    return asked if asked is not None else 3600.0 if builds(options) else 600.0


ENTRY = EngineEntry(
    name="tensorrt",
    adapter=Path(__file__).parent / "child" / "tensorrt_adapter.py",
    options=TensorrtOptions,
    precisions=("float16", "bfloat16"),
    needs=NEEDS,
    packages=("tensorrt_llm",),
    gpus=gpus,
    refuses=refuses,
    positions=positions,
    builds=builds,
    continuous=True,
    start_seconds=start_seconds,
    stop_seconds=60.0,
)
