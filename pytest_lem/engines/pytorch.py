"""The PyTorch engine as the parent knows it: its options and where its adapter lies. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field

from pytest_lem.engines.entry import EngineEntry
from pytest_lem.model.specs import Frozen


class PytorchOptions(Frozen):
    """The section `pytorch={...}` of a marker: how transformers runs the model.

    `attention_implementation` is a name that transformers knows (`eager`, `sdpa`, `flash_attention_2`, …; also
    accepted under its own name, `attn_implementation`); None leaves the choice to transformers. `gguf_file` names a
    GGUF file in the model's folder or repository. `num_threads` fixes torch's CPU threads.
    """

    attention_implementation: str | None = Field(
        default=None, validation_alias=AliasChoices("attention_implementation", "attn_implementation")
    )
    use_cache: bool = True
    gguf_file: str | None = None
    num_threads: int | None = Field(default=None, ge=1)


ENTRY = EngineEntry(
    name="pytorch",
    adapter=Path(__file__).parent / "child" / "pytorch.py",
    options=PytorchOptions,
    precisions=("float32", "float16", "bfloat16"),
    needs="pip install 'pytest-lem[pytorch]'",
)
