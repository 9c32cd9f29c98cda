"""The PyTorch engine: transformers' `generate` wave by wave, or its continuous batching, passes back to back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from . import pytorch_model, pytorch_observe, pytorch_parallel
from .faults import Refused
from .pytorch_arithmetic import set_arithmetic
from .pytorch_assistance import Drafts, load_assistant
from .pytorch_attention import check_attention
from .pytorch_compile import check_compile, compile_fields, compiled, compiles, forget_compiled, warm_up
from .pytorch_continuous import Continuous, reason_against
from .pytorch_decoding import Manner, check_decoding
from .pytorch_memory import device_peaks, forget_peaks, memory_faults, wait_for
from .pytorch_placement import check_placed, check_placement, gpus_of
from .pytorch_quantization import check_quantization, stored_method
from .pytorch_queue import Queue
from .pytorch_waves import Waves
from .tokenizer import Tokenizer, check_length


class Adapter:
    """One model, on one device or where a `device_map` puts it. `adapter.AdapterProtocol` tells what is called when."""

    def load(self, request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        """Load the model and read back what it is; the probe that tells also is the first two tokens it makes."""
        options = request["options"]
        self.device = pytorch_model.find_device(request)
        if options.get("num_threads"):
            torch.set_num_threads(options["num_threads"])
        check_attention(options.get("attention_implementation"), self.device, request["precision"])
        check_compile(options, self.device)
        check_placement(options, self.device)
        config = pytorch_model.model_config(request)
        check_quantization(request, config, self.device)
        set_arithmetic(options, self.device)
        self.group = pytorch_parallel.join(request, self.device, config)
        progress(f"loading {request['model']}")
        with memory_faults():
            assistant = load_assistant(request, config, self.device)
            self.model = pytorch_model.load_model(request, self.device)
            check_placed(self.model, options, self.device)
            self.gpus = gpus_of(self.model)
            self.tokenizer = Tokenizer(request)
            self.driver: Waves | Queue | Continuous | None = None
            self.traffic = way_of_traffic(self.model, options)
            self.manner = Manner({"use_cache": True, **manner_fields(options, self.device)}, assistant)
            self.drafts = Drafts(self.model) if self.manner.assisted else None
            told = {**options, "traffic": self.traffic}
            stored = stored_method(config, options)
            observed = pytorch_observe.observe(self.model, told, self.manner, self.drafts, stored)
            observed = self.group.observed(self.model, observed)
        self.compiled = observed["options"]["torch_compile"] is not False
        # These compile their kernels themselves, as often as shapes are new.
        self.warms_up = self.compiled or observed["options"]["attention_implementation"] == "flex_attention"
        self.weights_bytes = observed["weights_bytes"]
        return {**observed, "tokenizer": self.tokenizer.name}

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The token ids of texts."""
        return [self.tokenizer.token_ids(text) for text in texts]

    def prepare(self, work: dict[str, Any]) -> list[int]:
        """Put the waves on the device as padded batches, or start what serves requests that come one by one."""
        self._let_go()
        check_decoding(work["decoding"])
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        for wave in work["waves"] or possible_batches(work, self.traffic):
            check_length(work["requests"], wave, limit)
        own = self.group.share(work)
        with memory_faults():
            if work["submission"] == "waves":
                self.driver = self._waves(own)
            elif self.traffic == "queue":
                self.driver = Queue(self.model, own, self.device, self.manner)
            else:
                self.driver = Continuous(self.model, own, self.device)
        return [len(request["prompt"]) for request in work["requests"]]

    def arm(self, passes: int, hooks: bool) -> None:
        """Forget the last run, make the hooks' events, reset the memory peaks, wait for the device."""
        self.passes = passes
        self._ready().arm(passes, hooks)
        if self.drafts is not None:
            self.drafts.forget()
        self.graphs = compiles()
        wait_for(self.gpus)
        forget_peaks(self.gpus)
        self.group.arm(passes)

    def run(self) -> None:
        """The window: pass after pass, then wait for the device."""
        driver = self._ready()
        with memory_faults(), self.group.window():
            self.began = time.monotonic()
            for _ in range(self.passes):
                driver.run_pass()
            wait_for(self.gpus)

    def collect(self) -> dict[str, Any]:
        """Counts, the last pass's new tokens, token times and memory peaks."""
        driver = self._ready()
        if compiles() != self.graphs:
            raise RuntimeError(
                f"torch compiled {compiles() - self.graphs} graphs within a run: its joules are no work's"
            )
        drafted = self.drafts.counters() if self.drafts is not None else {}
        ids = driver.token_ids()
        found = {
            "tokens": driver.tokens,
            "token_ids": ids,
            "texts": self.tokenizer.texts(ids),
            "request_times": driver.request_times(self.began),
            "memory": device_peaks(self.gpus),
            "counters": {"weights_bytes": self.weights_bytes, **driver.counters(), **drafted},
        }
        return self.group.collected(found)

    def close(self) -> None:
        """Drop the model and give its memory back."""
        self._let_go()
        self.model = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.group.close()

    def _ready(self) -> Waves | Queue | Continuous:
        if self.driver is None:
            raise RuntimeError("nothing is prepared yet")
        return self.driver

    def _waves(self, work: dict[str, Any]) -> Waves:
        """Waves ready to run; where something compiles, all of it has compiled when they are."""
        if self.manner.assisted and any(len(wave) > 1 for wave in work["waves"]):
            raise Refused("pytorch: transformers assists one request at a time; take batch 1")
        waves = Waves(self.model, work, self.device, self.manner)
        if self.warms_up:
            forget_compiled(self.model)
            waves.arm(1, hooks=False)
            warm_up(waves.run_pass)
        if self.compiled and compiled(self.model) == (None, None):
            raise RuntimeError("torch_compile was asked for, but nothing is compiled after the warm-up")
        return waves

    def _let_go(self) -> None:
        """End what served the work before."""
        if self.driver is not None:
            self.driver.close()
        self.driver = None


def manner_fields(options: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The fields of GenerationConfig that every call of `generate` has."""
    names = ("use_cache", "cache_implementation", "prompt_lookup_num_tokens")
    asked = {name: options[name] for name in names if options.get(name) is not None}
    return {**asked, **compile_fields(options, device)}


def way_of_traffic(model: Any, options: dict[str, Any]) -> str:
    """`continuous` where the model can, unless `queue` is asked for. Raises Refused where it cannot but must."""
    against = reason_against(model, use_cache=options.get("use_cache", True))
    if options.get("traffic") == "continuous" and against:
        raise Refused(f"pytorch: traffic='continuous': {against}; take 'queue'")
    return "queue" if against or options.get("traffic") == "queue" else "continuous"


def possible_batches(work: dict[str, Any], traffic: str) -> list[list[int]]:
    """Which requests may share a batch's padding: any, where a queue forms batches; none in continuous batching."""
    places = list(range(len(work["requests"])))
    return [places] if traffic == "queue" and work["batch"] > 1 else [[place] for place in places]
