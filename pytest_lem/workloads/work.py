"""A workload as its engine gets it: every request, and how they are handed over. All of it is known in advance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pytest_lem.model.data import DataSpec
from pytest_lem.model.errors import UsageError
from pytest_lem.model.frozen import Frozen
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.arrivals import build_arrivals
from pytest_lem.workloads.batching import Size, groups, overrun, padding
from pytest_lem.workloads.data import check_data, fit, read_data
from pytest_lem.workloads.generators import Made, generate
from pytest_lem.workloads.lengths import build_lengths
from pytest_lem.workloads.prompts import Prompt, build_prompts, check_prompt, drawn_prompts, prompt_lengths
from pytest_lem.workloads.records import fingerprint
from pytest_lem.workloads.traces import read_trace

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
    runs together. `decoding` holds the fields of a DecodingSpec that are asked for. `notes` say what was cut or filled,
    and of an open loop when each request arrives and how long it is, as a trace has it.
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
    _check_source(workload)
    found = _material(workload, vocab_size, tokenize)
    traffic = workload.arriving
    arrivals = found.arrivals
    if traffic is not None and traffic.arrivals in ("constant", "poisson", "gamma"):
        arrivals = build_arrivals(traffic, len(found.prompts), workload.seed)
    requests = tuple(
        Request(prompt=prompt, output_tokens=tokens, arrival_s=None if arrivals is None else arrivals[index])
        for index, (prompt, tokens) in enumerate(zip(found.prompts, found.outputs, strict=True))
    )
    common = {
        "requests": requests,
        "batch": workload.batch,
        "decoding": workload.decoding.model_dump(exclude_none=True),
    }
    if arrivals is not None:
        return Work(submission="open", notes={**found.notes, "arrivals": _arrivals(requests)}, **common)
    if traffic is not None:
        return Work(submission="closed", concurrency=traffic.concurrency, notes=found.notes, **common)
    sizes = [Size(len(request.prompt), request.output_tokens) for request in requests]
    waves = groups(sizes, workload.batching, workload.batch, workload.max_tokens_per_batch)
    notes = {"groups": len(waves), "padding_tokens": padding(waves, sizes), "overrun_tokens": overrun(waves, sizes)}
    return Work(submission="waves", waves=waves, notes={**found.notes, **notes}, **common)


def _arrivals(requests: Sequence[Request]) -> list[dict[str, Any]]:
    """The requests as a trace has them: their lines in a JSONL file are the same traffic again."""
    return [
        {"arrival_s": each.arrival_s, "prompt_tokens": len(each.prompt), "output_tokens": each.output_tokens}
        for each in requests
    ]


def check_workload(workload: WorkloadSpec) -> None:
    """Raise UsageError, one line, for what can be seen before an engine counts tokens: files, rates, strategies."""
    traffic = workload.arriving
    bounded = traffic is None and workload.max_tokens_per_batch is not None
    sizes = [Size(prompt, output) for _, prompt, output in known_lengths(workload)] if bounded else []
    groups(sizes, workload.batching, workload.batch, workload.max_tokens_per_batch)
    _check_source(workload)
    if traffic is None:
        pass
    elif workload.batching != "static":
        raise UsageError(f"batching={workload.batching!r}: requests that come over time are not handed over in groups")
    elif traffic.trace is not None:
        read_trace(traffic.trace, traffic.requests)
    elif workload.data is None and workload.generator is None:
        _count(workload, None)
    if workload.data is not None:
        check_data(workload.data)


def _check_source(workload: WorkloadSpec) -> None:
    if workload.traffic is not None and workload.traffic.arrivals == "generator" and workload.generator is None:
        raise UsageError("traffic: generator arrivals come with a generator's requests; name it by generator='...'")


def known_lengths(workload: WorkloadSpec) -> Iterator[tuple[str, int, int]]:
    """Each request's prompt and output tokens, as far as they are known before a tokenizer counts, led by their field.

    Of a text it is 1 token, of data and of a generator nothing at all. Raises UsageError for what cannot be.
    """
    if workload.data is not None or workload.generator is not None:
        return
    traffic = workload.traffic
    if traffic is not None and traffic.trace is not None:
        arrivals = read_trace(traffic.trace, traffic.requests or workload.requests)
        yield from (("traffic: trace", each.least, each.output_tokens) for each in arrivals)
        return
    count = _count(workload, None)
    given = [1 if isinstance(prompt, str) else len(prompt) for prompt in workload.prompts]
    prompts = [given[index % len(given)] for index in range(count)] if given else prompt_lengths(workload, count)
    for prompt, output in zip(prompts, _outputs(workload, count), strict=True):
        yield "prompts" if given else "prompt_tokens", prompt, output


@dataclass(frozen=True)
class _Material:
    """Prompts and how long their answers are; arrivals where they come with them."""

    prompts: Sequence[tuple[int, ...]]
    outputs: Sequence[int]
    arrivals: Sequence[float] | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def _material(workload: WorkloadSpec, vocab_size: int | None, tokenize: Tokenize) -> _Material:
    if workload.traffic is not None and workload.traffic.trace is not None:
        return _traced(workload, workload.traffic.trace, vocab_size, tokenize)
    if workload.generator is not None:
        return _generated(workload, vocab_size, tokenize)
    if workload.data is not None:
        return _read(workload, workload.data, tokenize)
    count = _count(workload, None)
    prompts = _ids(build_prompts(workload, vocab_size, count), tokenize)
    return _Material(prompts, _outputs(workload, count))


def _traced(workload: WorkloadSpec, name: str, vocab_size: int | None, tokenize: Tokenize) -> _Material:
    traffic = workload.traffic
    arrivals = read_trace(name, (traffic.requests if traffic else None) or workload.requests)
    drawn = iter(drawn_prompts([each.prompt_tokens or 1 for each in arrivals], vocab_size, workload.seed))
    prompts = [drawn_ if each.prompt is None else each.prompt for each, drawn_ in zip(arrivals, drawn, strict=True)]
    first = arrivals[0].arrival_s
    return _Material(
        _ids(prompts, tokenize),
        [each.output_tokens for each in arrivals],
        [each.arrival_s - first for each in arrivals],
        {"source": Path(name).name, "sha256": fingerprint(Path(name))},
    )


def _generated(workload: WorkloadSpec, vocab_size: int | None, tokenize: Tokenize) -> _Material:
    made = generate(workload, vocab_size, _bound(workload))
    for index, each in enumerate(made):
        check_prompt(index, each.prompt, vocab_size)
    lengths = _outputs(workload, len(made))
    outputs = [each.output_tokens or tokens for each, tokens in zip(made, lengths, strict=True)]
    times = _own_times(workload, made)
    prompts, notes = _ids([each.prompt for each in made], tokenize), {"source": workload.generator}
    if times is not None or workload.arriving is None:
        return _Material(prompts, outputs, times, notes)
    places = [index % len(made) for index in range(_count(workload, len(made)))]
    return _Material([prompts[i] for i in places], [outputs[i] for i in places], None, notes)


def _own_times(workload: WorkloadSpec, made: Sequence[Made]) -> list[float] | None:
    """When a generator's requests come, where it is asked for that. Raises UsageError for what does not go together."""
    place = f"generator {workload.generator!r}"
    asked = workload.traffic is not None and workload.traffic.arrivals == "generator"
    times = [each.arrival_s for each in made if each.arrival_s is not None]
    if times and not asked:
        raise UsageError(
            f"{place}: its requests have an arrival_s; say traffic={{'arrivals': 'generator'}}, and no other traffic, "
            "or leave them out"
        )
    if asked and not times:
        raise UsageError(f"{place}: its requests have no arrival_s, which traffic={{'arrivals': 'generator'}} takes")
    if times != sorted(times):
        raise UsageError(f"{place}: its requests' arrival_s are not in order")
    return times or None


def _read(workload: WorkloadSpec, spec: DataSpec, tokenize: Tokenize) -> _Material:
    data = read_data(spec)
    fitted = fit(spec, _ids(data.texts, tokenize))
    count = _count(workload, len(fitted.prompts))
    places = [index % len(fitted.prompts) for index in range(count)]
    outputs: Sequence[int] = _outputs(workload, count)
    if data.output_tokens is not None:
        outputs = [data.output_tokens[fitted.kept[place]] for place in places]
    return _Material([fitted.prompts[place] for place in places], outputs, None, {**data.notes, **fitted.notes})


def _count(workload: WorkloadSpec, found: int | None) -> int:
    """How many requests a pass has; `found` is how many there are to take from. Raises UsageError."""
    short = workload.batch if workload.arriving is None or workload.target_qps is not None else None
    count = _bound(workload) or found or short
    if count is None:
        raise UsageError("traffic: nothing bounds a pass; give traffic requests or seconds, or the workload requests")
    return count


def _bound(workload: WorkloadSpec) -> int | None:
    """How many requests were asked for, whatever there is to take from; None where nothing says it."""
    traffic = workload.arriving
    if traffic is not None and traffic.seconds is not None:
        return len(build_arrivals(traffic, None, workload.seed))
    return (traffic and traffic.requests) or workload.requests


def _outputs(workload: WorkloadSpec, count: int) -> list[int]:
    return build_lengths(workload.output_tokens, count, f"output lengths {workload.seed}", "output_tokens")


def _ids(prompts: Sequence[Prompt], tokenize: Tokenize) -> list[tuple[int, ...]]:
    """Every prompt as token ids. Raises UsageError for a text of which the tokenizer makes nothing."""
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    found = iter(tokenize(texts) if texts else [])
    return [tuple(next(found)) if isinstance(prompt, str) else prompt for prompt in prompts]
