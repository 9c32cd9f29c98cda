"""The vLLM engine: offline or served, exactly the new tokens that each request asks for, passes back to back."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .faults import Refused
from .tokenizer import Tokenizer, check_length
from .vllm_arguments import FIRST_WITH_EVERY_STEP, engine_arguments, set_environment, version
from .vllm_faults import core_faults
from .vllm_records import Answer, StepLog, TokenLog, request_times


class Adapter:
    """One vLLM engine, in this process and those that it starts. See `adapter.AdapterProtocol` for who calls what."""

    def load(self, request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        """Check the options, start the engine, read back what it is."""
        set_environment(request)
        arguments = engine_arguments(request, str(request["location"]))
        progress("importing vllm")
        from . import vllm_drivers, vllm_observe  # seconds long: what cannot be has been refused by now

        progress(f"loading {request['model']}; a first start compiles for a minute or more")
        driver = vllm_drivers.Served if request["options"].get("served") else vllm_drivers.Offline
        with tempfile.TemporaryDirectory(prefix="lem-model-") as folder:  # read at the start only
            if request["source"] == "synthetic":
                arguments["model"] = _write_shape(Path(request["location"]), Path(folder))
            with core_faults():
                self.driver: Any = driver(arguments)
        self.tokenizer = Tokenizer(request)
        workers = self.driver.ask_workers("lem_facts")
        self.steps = StepLog(gpus=len(workers))
        self.driver.listen(self.steps)
        self.tokens_log: TokenLog | None = None
        settings = {"served": self.driver.served, "compile_cache": _compile_cache(request["options"])}
        observed = vllm_observe.observe(self.driver.config, workers, request, settings)
        self.sizes = {name: observed[name] for name in ("weights_bytes", "kv_cache_bytes") if observed[name]}
        return {**observed, "tokenizer": self.tokenizer.name}

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The token ids of texts."""
        return [self.tokenizer.token_ids(text) for text in texts]

    def prepare(self, work: dict[str, Any]) -> list[int]:
        """Keep the prompts as token ids; requests are made anew in each pass, as they are in deployment."""
        from .vllm_sampling import check_sampling

        config = self.driver.config
        if work["submission"] != "waves" and not self.driver.served:
            raise Refused("traffic: requests that come one by one need vllm={'served': True}")
        for place in range(len(work["requests"])):
            check_length(work["requests"], [place], config.model_config.max_model_len)
        check_sampling(work["decoding"], speculative=config.speculative_config is not None)
        self.work = work
        return [len(request["prompt"]) for request in work["requests"]]

    def arm(self, passes: int, hooks: bool) -> None:
        """Forget the last run, listen to the tokens where hooks are asked for, wait for the devices."""
        self.passes = passes
        self.answers: list[list[Answer]] = []
        self.tokens_log = TokenLog() if hooks else None
        if self.tokens_log:
            self.tokens_log.attach(self.driver.processor)
        with core_faults():
            self.driver.ask_workers("lem_reset_peaks")
        self.steps.reset()

    def run(self) -> None:
        """The window: pass after pass; a pass ends when its last request is answered."""
        self.began = time.monotonic()
        with core_faults():
            for _ in range(self.passes):
                self.answers.append(self.driver.run(self.work))

    def collect(self) -> dict[str, Any]:
        """Counts, the last pass's new tokens, token times, the engine's own counters, memory peaks."""
        TokenLog.detach(self.driver.processor)
        everything = [answer for answers in self.answers for answer in answers]
        rows = [answer.token_ids for answer in self.answers[-1]]
        log = self.tokens_log
        return {
            "tokens": sum(len(answer.token_ids) for answer in everything),
            "token_ids": rows,
            "texts": self.tokenizer.texts(rows),
            "request_times": [request_times(answer, log, self.began) for answer in everything] if log else [],
            "counters": self._counters(everything),
            "memory": [peaks for peaks in self.driver.ask_workers("lem_peaks") if peaks],
        }

    def _counters(self, answers: list[Answer]) -> dict[str, float]:
        steps = self.steps
        told: dict[str, float | None] = {
            "cached_tokens": sum(answer.cached_tokens for answer in answers),
            "preemptions": steps.preemptions,
            "kv_cache_usage": steps.kv_cache_usage,
            **self.sizes,
        }
        if self.driver.served or version() >= FIRST_WITH_EVERY_STEP:
            told |= {
                "engine_steps": steps.steps,
                "engine_flops": steps.flops,
                "engine_read_bytes": steps.read_bytes,
                "engine_write_bytes": steps.write_bytes,
            }
        return {name: value for name, value in told.items() if value is not None}

    def close(self) -> None:
        """End the engine's processes."""
        self.driver.close()


def _write_shape(location: Path, folder: Path) -> str:
    """A bundled shape as the folder that vLLM wants: its configuration, and no weights."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    shape = json.loads(location.read_text(encoding="utf-8"))
    shape["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[shape["model_type"]]]
    (folder / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    return str(folder)


def _compile_cache(options: dict[str, Any]) -> str | None:
    """Where this process keeps compiled code, as it was asked for; None where it keeps none."""
    from vllm import envs

    if envs.VLLM_DISABLE_COMPILE_CACHE:
        return None
    asked, found = options.get("compile_cache"), str(envs.VLLM_CACHE_ROOT)
    return asked if asked and str(Path(asked).expanduser().resolve()) == found else found
