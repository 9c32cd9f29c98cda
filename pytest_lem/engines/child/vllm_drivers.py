"""The two ways to drive vLLM: offline, all requests in one call; served, each sent at its time and streamed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from vllm import LLM, AsyncEngineArgs, SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from .vllm_records import Answer, StepLog

STOP_SECONDS = 30.0  # vLLM's own grace of 5 s kills workers that are still letting go of their GPUs


class Offline:
    """`LLM`: a pass hands over all its requests, and returns when the last is answered."""

    served = False

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.llm = LLM(**arguments)
        self.engine = self.llm.llm_engine
        self.config = self.engine.vllm_config
        self.processor = self.engine.output_processor
        # LLM has no parameter for loggers; where statistics are off there is no manager either.
        manager = self.engine.logger_manager
        self.loggers: list[Any] = manager.stat_loggers if manager is not None else []

    def listen(self, steps: StepLog) -> None:
        """Have `steps` called once a step."""
        self.loggers.append(steps)

    def ask_workers(self, method: str) -> list[Any]:
        """Call a method of every worker by name."""
        answers: list[Any] = self.llm.collective_rpc(method)
        return answers

    def run(self, prompts: list[list[int]], _arrivals: list[float], tokens: int) -> list[Answer]:
        """One pass; answers in the order of the prompts."""
        sent = time.monotonic()
        inputs: Any = [{"prompt_token_ids": prompt} for prompt in prompts]
        outputs = self.llm.generate(inputs, sampling(tokens, RequestOutputKind.FINAL_ONLY), use_tqdm=False)
        return [Answer(output.request_id, sent, output) for output in outputs]

    def close(self) -> None:
        """End the engine's processes."""
        self.engine.engine_core.shutdown(timeout=STOP_SECONDS)


class Served:
    """`AsyncLLM`: what a server does, without the sockets. Each request is sent when it arrives, and streams."""

    served = True

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.loop = asyncio.new_event_loop()
        self.llm = self.loop.run_until_complete(self._start(arguments))
        self.config = self.llm.vllm_config
        self.processor = self.llm.output_processor
        self._count = 0

    @staticmethod
    async def _start(arguments: dict[str, Any]) -> AsyncLLM:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

    def listen(self, steps: StepLog) -> None:
        """Have `steps` called once a step."""
        if self.llm.logger_manager is not None:
            self.llm.logger_manager.stat_loggers.append(steps)

    def ask_workers(self, method: str) -> list[Any]:
        """Call a method of every worker by name."""
        answers: list[Any] = self.loop.run_until_complete(self.llm.collective_rpc(method))
        return answers

    def run(self, prompts: list[list[int]], arrivals: list[float], tokens: int) -> list[Answer]:
        """One pass; answers in the order of the prompts."""
        return self.loop.run_until_complete(self._serve(prompts, arrivals, tokens))

    async def _serve(self, prompts: list[list[int]], arrivals: list[float], tokens: int) -> list[Answer]:
        began = time.monotonic()
        return await asyncio.gather(
            *(self._request(prompt, began + at, tokens) for prompt, at in zip(prompts, arrivals, strict=True))
        )

    async def _request(self, prompt: list[int], due: float, tokens: int) -> Answer:
        """One request: wait until it is due, send it, gather its stream. TTFT counts from when it was due."""
        name = str(self._count)
        self._count += 1
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        params = sampling(tokens, RequestOutputKind.DELTA)
        ids: list[int] = []
        last: Any = None
        async for last in self.llm.generate({"prompt_token_ids": prompt}, params, name):
            ids += last.outputs[0].token_ids
        last.outputs[0].token_ids = ids  # the stream's last chunk becomes the whole answer
        return Answer(name, due, last)

    def close(self) -> None:
        """End the engine's processes."""
        self.llm.shutdown(timeout=STOP_SECONDS)
        with contextlib.suppress(RuntimeError):
            self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


def sampling(tokens: int, kind: RequestOutputKind) -> SamplingParams:
    """Greedy, exactly `tokens` new ones, no text."""
    return SamplingParams(max_tokens=tokens, ignore_eos=True, temperature=0.0, detokenize=False, output_kind=kind)
