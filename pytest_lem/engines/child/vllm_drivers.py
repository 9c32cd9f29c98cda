"""The two ways to drive vLLM: offline, a wave of requests in one call; served, each sent at its time and streamed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import Any

from vllm import LLM, AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from .submission import submit
from .vllm_records import Answer, StepLog
from .vllm_sampling import sampling

STOP_SECONDS = 30.0  # vLLM's own grace of 5 s kills workers that are still letting go of their GPUs


class Offline:
    """`LLM`: a wave of requests is handed over at once; the next follows when its last is answered."""

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

    def run(self, work: dict[str, Any]) -> list[Answer]:
        """One pass; answers in the order of the requests."""
        answers = [answer for wave in work["waves"] for answer in self._wave(work, wave)]
        return sorted(answers, key=lambda answer: answer.index)

    def _wave(self, work: dict[str, Any], wave: list[int]) -> list[Answer]:
        sent = time.monotonic()
        inputs: Any = [{"prompt_token_ids": work["requests"][index]["prompt"]} for index in wave]
        parameters = [sampling(work, index, RequestOutputKind.FINAL_ONLY) for index in wave]
        outputs = self.llm.generate(inputs, parameters, use_tqdm=False)
        return [
            Answer(output.request_id, index, due=sent, sent=sent, output=output)
            for index, output in zip(wave, outputs, strict=True)
        ]

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

    def run(self, work: dict[str, Any]) -> list[Answer]:
        """One pass; answers in the order of the requests."""
        return self.loop.run_until_complete(submit(work, partial(self._request, work)))

    async def _request(self, work: dict[str, Any], index: int, due: float) -> Answer:
        """One request: wait until it is due, send it, gather its stream."""
        name = str(self._count)
        self._count += 1
        prompt: Any = {"prompt_token_ids": work["requests"][index]["prompt"]}
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        parameters = sampling(work, index, RequestOutputKind.DELTA)
        ids: list[int] = []
        last: Any = None
        sent = time.monotonic()
        async for last in self.llm.generate(prompt, parameters, name):
            ids += last.outputs[0].token_ids
        last.outputs[0].token_ids = ids  # the stream's last chunk becomes the whole answer
        return Answer(name, index, due=due, sent=sent, output=last)

    def close(self) -> None:
        """End the engine's processes."""
        self.llm.shutdown(timeout=STOP_SECONDS)
        with contextlib.suppress(RuntimeError):
            self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
