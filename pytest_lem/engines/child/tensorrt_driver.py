"""TensorRT-LLM at work: a wave of requests in one call, or each sent at its time and streamed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tensorrt_llm import SamplingParams, llmapi

from .faults import Refused
from .submission import submit
from .tensorrt_records import Answer

Sampling = Callable[[int], SamplingParams]
# Sections that are handed over as objects. Of a dictionary the library makes any other itself; it does not make one of
# `build_config` in 1.0 and 1.1, which annotate it as `object`, and algorithms have to be members of an enumeration.
SECTIONS = {"build_config": "BuildConfig", "quant_config": "QuantConfig"}
# Keywords that hold a member of an enumeration, by the class's name.
ENUMERATIONS = {"batching_type": "BatchingType"}
FIELD_ENUMERATIONS = {"quant_algo": "QuantAlgo", "kv_cache_quant_algo": "QuantAlgo"}


def open_llm(arguments: dict[str, Any], runtime: str) -> Any:
    """The engine; `arguments` as `engine_arguments` makes them."""
    if runtime == "engine":
        from tensorrt_llm._tensorrt_engine import LLM
    else:
        from tensorrt_llm import LLM
    return LLM(**{name: _object(name, value) for name, value in arguments.items()})


def _object(name: str, value: Any) -> Any:
    """A section as the object that TensorRT-LLM wants, a word as the member of its enumeration."""
    if name == "enable_build_cache" and isinstance(value, dict):
        root = {"cache_root": Path(value["cache_root"]).expanduser().resolve()} if "cache_root" in value else {}
        return llmapi.BuildCacheConfig(**value | root)
    if name in SECTIONS and isinstance(value, dict):
        fields = {field: member(FIELD_ENUMERATIONS.get(field), field, given) for field, given in value.items()}
        return getattr(llmapi, SECTIONS[name])(**fields)
    return member(ENUMERATIONS.get(name), name, value)


def member(kind: str | None, name: str, value: Any) -> Any:
    """The member that `value` names; Refused, with those that there are, where it names none."""
    if kind is None or not isinstance(value, str):
        return value
    members = getattr(llmapi, kind).__members__
    if value.upper() not in members:
        raise Refused(f"tensorrt: {name}={value!r} is none of {', '.join(members)}")
    return members[value.upper()]


class Driver:
    """One `LLM`. Where nobody asks for token times, a wave is one call of `generate`; otherwise all requests stream."""

    def __init__(self, llm: Any) -> None:
        self.llm = llm
        self.loop = asyncio.new_event_loop()

    def run(self, work: dict[str, Any], sampling: Sampling, *, hooks: bool) -> list[Answer]:
        """One pass; answers in the order of the requests."""
        if work["submission"] != "waves" or hooks:
            return self.loop.run_until_complete(submit(work, partial(self._request, work, sampling)))
        answers = [answer for wave in work["waves"] for answer in self._wave(work, wave, sampling)]
        return sorted(answers, key=lambda answer: answer.index)

    def _wave(self, work: dict[str, Any], wave: list[int], sampling: Sampling) -> list[Answer]:
        sent = time.monotonic()
        outputs = self.llm.generate(
            inputs=[_prompt(work, index) for index in wave],
            sampling_params=[sampling(index) for index in wave],
            use_tqdm=False,
        )
        return [Answer(index, sent, sent, output) for index, output in zip(wave, outputs, strict=True)]

    async def _request(self, work: dict[str, Any], sampling: Sampling, index: int, due: float) -> Answer:
        """One request: wait until it is due, send it, note when its tokens come.

        TensorRT-LLM streams one object that grows; it must be asked for inside the running loop.
        """
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        chunks: list[tuple[float, int]] = []
        before, sent = 0, time.monotonic()
        stream = self.llm.generate_async(inputs=_prompt(work, index), sampling_params=sampling(index), streaming=True)
        async for output in stream:
            now, tokens = time.monotonic(), len(output.outputs[0].token_ids)
            if tokens > before:
                chunks.append((now, tokens - before))
                before = tokens
        return Answer(index, due, sent, stream, tuple(chunks), time.monotonic())

    def close(self) -> None:
        """End the engine and the processes that it started."""
        self.llm.shutdown()
        self.loop.close()


def _prompt(work: dict[str, Any], index: int) -> dict[str, list[int]]:
    return {"prompt_token_ids": list(work["requests"][index]["prompt"])}
