"""One run, timed twice: by us (the engine core's stamps) and as vLLM's own benchmark does (what its client sees).

    python benchmarks/reference/same_run.py --model synthetic:qwen2.5-0.5b --qps 1 --requests 20

runs our vLLM adapter in this process, with vLLM and pytest-lem in one environment. Each request's stream is also
stamped as `vllm.benchmarks.lib.endpoint_request_func` stamps a response, and handed to vLLM's `calculate_metrics`.
Prints one JSON object: `requests` (our times), `ours` and `vllm` (metric → value), `formulas` (vLLM's code on our
stamps).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.reference.metrics import Settings, our_metrics, vllm_metrics
from pytest_lem.engines.child.vllm_adapter import Adapter
from pytest_lem.engines.models import locate
from pytest_lem.model.latency import RequestTimes
from pytest_lem.workloads.work import build_work


class Client:
    """Reads the streams of an AsyncLLM as vLLM's benchmark reads responses, while ours reads them too."""

    def __init__(self, llm: Any) -> None:
        self.outputs: list[tuple[int, Any]] = []
        self._generate = llm.generate
        self._places: dict[tuple[int, ...], int] = {}

    def watch(self, work: dict[str, Any]) -> None:
        """Know the requests by their prompts, which are all different."""
        self._places = {tuple(request["prompt"]): place for place, request in enumerate(work["requests"])}
        self.outputs = []

    async def generate(self, prompt: Any, parameters: Any, name: str) -> AsyncIterator[Any]:
        """The stream, stamped: `ttft`, `itl` and `latency` as in `async_request_openai_completions`."""
        from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput

        output = RequestFuncOutput(success=True, prompt_len=len(prompt["prompt_token_ids"]))
        output.start_time = most_recent = time.perf_counter()
        async for chunk in self._generate(prompt, parameters, name):
            now = time.perf_counter()
            if output.output_tokens:
                output.itl.append(now - most_recent)
            else:
                output.ttft = now - output.start_time
            output.output_tokens += len(chunk.outputs[0].token_ids)
            most_recent = now
            yield chunk
        output.latency = most_recent - output.start_time
        self.outputs.append((self._places[tuple(prompt["prompt_token_ids"])], output))


def main() -> int:
    """Load, warm up, run once, print."""
    settings = Settings.parsed(argparse.ArgumentParser(description=__doc__))
    adapter = Adapter()
    spec = settings.engine()
    source = locate(spec.model)
    request = {**spec.model_dump(), **source.as_request(), "device": "cpu", "gpus": ()}
    observed = adapter.load(request, lambda _text: None)
    work = build_work(settings.workload(), observed["vocab_size"], lambda _texts: []).model_dump()
    client = Client(adapter.driver.llm)
    adapter.driver.llm.generate = client.generate
    for hooks in (False, True):
        client.watch(work)
        adapter.prepare(work)
        adapter.arm(1, hooks)
        begin = time.monotonic()
        adapter.run()
        seconds = time.monotonic() - begin
        result = adapter.collect()
    adapter.close()
    requests = [RequestTimes.model_validate(times) for times in result["request_times"]]
    outputs = [output for _, output in sorted(client.outputs, key=lambda each: each[0])]
    ours = our_metrics(requests, seconds, settings.slo)
    middle = {"ttft": 1.05 * ours["ttft_p50_ms"], "tpot": 1.05 * ours["tpot_p50_ms"]}
    found = {
        "versions": observed["versions"],
        "seconds": seconds,
        "requests": [times.model_dump() for times in requests],
        "ours": ours,
        "vllm": vllm_metrics(outputs, seconds, settings.slo),
        # Bounds that some requests meet and some do not, however fast the machine is.
        "middle": [
            our_metrics(requests, seconds, middle)["goodput"],
            vllm_metrics(outputs, seconds, middle)["goodput"],
        ],
        "formulas": vllm_metrics([as_output(times) for times in requests], seconds, settings.slo),
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    return 0


def as_output(times: RequestTimes) -> Any:
    """Our stamps of a request as vLLM's benchmark holds its own."""
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput

    gaps = [gap / 1e3 for gap in times.gaps_ms]
    ttft = times.ttft_ms / 1e3
    output = RequestFuncOutput(success=True, ttft=ttft, itl=gaps, latency=ttft + sum(gaps), output_tokens=len(gaps) + 1)
    output.start_time = (times.due_ms or 0.0) / 1e3
    return output


if __name__ == "__main__":
    sys.exit(main())
