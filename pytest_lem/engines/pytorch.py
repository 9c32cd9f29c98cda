"""The PyTorch engine as the parent knows it: its options and where its adapter lies. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field

from pytest_lem.engines.child.pytorch_split import misfit, sizes
from pytest_lem.engines.entry import EngineEntry
from pytest_lem.model.specs import Frozen, WorkloadSpec


class PytorchOptions(Frozen):
    """The section `pytorch={...}` of a marker: how transformers runs the model.

    `attention_implementation` is a name that transformers knows (`eager`, `sdpa`, `flash_attention_2`, …; also
    accepted under its own name, `attn_implementation`); None leaves the choice to transformers. `gguf_file` names a
    GGUF file in the model's folder or repository. `num_threads` fixes torch's CPU threads. `traffic` is how requests
    are served that come one by one: `continuous` batching, or a `queue`, where all that has come, up to `batch`, is
    decoded together; None takes the first where the model can. `tensor_parallel_size` ranks share each layer,
    `pipeline_parallel_size` stages share the layers: a process each, on a GPU each or together on the CPU.
    """

    attention_implementation: str | None = Field(
        default=None, validation_alias=AliasChoices("attention_implementation", "attn_implementation")
    )
    use_cache: bool = True
    gguf_file: str | None = None
    num_threads: int | None = Field(default=None, ge=1)
    traffic: Literal["continuous", "queue"] | None = None
    tensor_parallel_size: int | None = Field(default=None, ge=1)
    pipeline_parallel_size: int | None = Field(default=None, ge=1)


def ranks(options: Mapping[str, Any]) -> int:
    """Processes that share the model, each on a GPU of its own where there are any: tensor × pipeline parallel."""
    return math.prod(sizes(options))


def refuses(options: Mapping[str, Any], workload: WorkloadSpec) -> tuple[str, str] | None:
    """Which field cannot be asked, and why: ways to draw tokens that transformers does not have."""
    decoding = workload.decoding
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(decoding, name):
            return f"decoding.{name}", "transformers does not have it; leave it out, or take repetition_penalty"
    if workload.arriving is not None and ranks(options) > 1:
        field = "target_qps" if workload.target_qps is not None else "traffic"
        return field, "requests that come over time are not shared among ranks; take one, or waves of requests"
    if decoding.seed is not None and decoding.temperature and workload.arriving is not None:
        return "decoding.seed", (
            "all requests draw from one generator, in an order that depends on when they come; leave the seed out"
        )
    return None


def positions(_options: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    """Those that the model was made with, as its adapter holds it to them."""
    found = config.get("max_position_embeddings")
    return found if isinstance(found, int) else None


ENTRY = EngineEntry(
    name="pytorch",
    adapter=Path(__file__).parent / "child" / "pytorch.py",
    options=PytorchOptions,
    precisions=("float32", "float16", "bfloat16"),
    gpus=ranks,
    ranks=ranks,
    misfits=misfit,
    refuses=refuses,
    positions=positions,
    needs="pip install 'pytest-lem[pytorch]'",
    packages=("torch", "transformers"),
)
