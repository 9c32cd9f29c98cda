"""A workload as its engine gets it: every request, and how they are handed over. All of it is known in advance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field

from pytest_lem.model.frozen import Frozen
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.arrivals import build_arrivals
from pytest_lem.workloads.prompts import build_prompts

Tokenize = Callable[[Sequence[str]], list[list[int]]]


class Request(Frozen):
    """One request: its prompt's token ids, how many new tokens it gets, when it arrives (s after the pass began)."""

    prompt: tuple[int, ...]
    output_tokens: int
    arrival_s: float | None = None


class Work(Frozen):
    """One pass: `requests`, handed over as `submission` says.

    `waves`: groups of their indices, one after the other, each request in one. `open`: each at its `arrival_s`.
    `closed`: in order, `concurrency` of them at a time. `batch` bounds how many an engine without continuous batching
    runs together. `decoding` holds the fields of a DecodingSpec that are asked for. `notes` say what was cut or filled.
    """

    submission: Literal["waves", "open", "closed"]
    requests: tuple[Request, ...]
    waves: tuple[tuple[int, ...], ...] = ()
    concurrency: int | None = None
    batch: int = 1
    decoding: dict[str, Any] = Field(default_factory=dict)
    notes: dict[str, Any] = Field(default_factory=dict)

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of one pass."""
        return sum(len(request.prompt) for request in self.requests)

    @property
    def output_tokens(self) -> int:
        """New tokens of one pass."""
        return sum(request.output_tokens for request in self.requests)

    @property
    def seconds(self) -> float:
        """How long its requests take to arrive."""
        return max((request.arrival_s or 0.0 for request in self.requests), default=0.0)


def build_work(workload: WorkloadSpec, vocab_size: int | None, tokenize: Tokenize) -> Work:
    """The work of `workload`, the same for the same spec. `tokenize` is the engine's own.

    Raises UsageError for what cannot be, one line that names the field.
    """
    prompts = build_prompts(workload, vocab_size)
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    tokens = iter(tokenize(texts) if texts else [])
    ids = [tuple(next(tokens)) if isinstance(prompt, str) else prompt for prompt in prompts]
    arrivals = build_arrivals(workload)
    output = workload.output_tokens
    assert isinstance(output, int)
    return Work(
        submission="waves" if arrivals is None else "open",
        requests=tuple(
            Request(prompt=prompt, output_tokens=output, arrival_s=None if arrivals is None else arrivals[index])
            for index, prompt in enumerate(ids)
        ),
        waves=(tuple(range(len(ids))),) if arrivals is None else (),
        batch=workload.batch,
        decoding=workload.decoding.model_dump(exclude_none=True),
    )
