"""The PyTorch engine: transformers' `generate` wave by wave, or its continuous batching, passes back to back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from . import pytorch_model, pytorch_observe, pytorch_parallel
from .faults import Refused
from .pytorch_continuous import Continuous, reason_against
from .pytorch_decoding import check_decoding, generation
from .pytorch_memory import device_peaks, memory_faults
from .pytorch_queue import Queue
from .pytorch_waves import Waves
from .tokenizer import Tokenizer, check_length


class Adapter:
    """One model on one device. See `adapter.AdapterProtocol` for who calls what, and when."""

    def load(self, request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        """Load the model and read back what it is; the probe that tells also is the first two tokens it makes."""
        options = request["options"]
        self.device = pytorch_model.find_device(request)
        self.use_cache = bool(options.get("use_cache", True))
        if options.get("num_threads"):
            torch.set_num_threads(options["num_threads"])
        self.group = pytorch_parallel.join(request, self.device)
        progress(f"loading {request['model']}")
        with memory_faults():
            self.model = pytorch_model.load_model(request, self.device)
            self.tokenizer = Tokenizer(request)
            self.driver: Waves | Queue | Continuous | None = None
            self.traffic = way_of_traffic(self.model, options)
            probe = generation({}, 2, use_cache=self.use_cache)
            observed = pytorch_observe.observe(self.model, {**options, "traffic": self.traffic}, probe)
            observed = self.group.observed(self.model, observed)
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
        with memory_faults():
            if work["submission"] == "waves":
                self.driver = Waves(self.model, work, self.device, use_cache=self.use_cache)
            elif self.traffic == "queue":
                self.driver = Queue(self.model, work, self.device, use_cache=self.use_cache)
            else:
                self.driver = Continuous(self.model, work, self.device)
        return [len(request["prompt"]) for request in work["requests"]]

    def arm(self, passes: int, hooks: bool) -> None:
        """Forget the last run, make the hooks' events, reset the memory peaks, wait for the device."""
        self.passes = passes
        self._ready().arm(passes, hooks)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        self.group.arm()

    def run(self) -> None:
        """The window: pass after pass, then wait for the device."""
        driver = self._ready()
        with memory_faults(), self.group.window():
            self.began = time.monotonic()
            for _ in range(self.passes):
                driver.run_pass()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

    def collect(self) -> dict[str, Any]:
        """Counts, the last pass's new tokens, token times and memory peaks."""
        driver = self._ready()
        ids = driver.token_ids()
        found = {
            "tokens": driver.tokens,
            "token_ids": ids,
            "texts": self.tokenizer.texts(ids),
            "request_times": driver.request_times(self.began),
            "memory": device_peaks(self.device),
            "counters": {"weights_bytes": self.weights_bytes, **driver.counters()},
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

    def _let_go(self) -> None:
        """End what served the work before."""
        if self.driver is not None:
            self.driver.close()
        self.driver = None


def way_of_traffic(model: Any, options: dict[str, Any]) -> str:
    """`continuous` where the model can, unless `queue` is asked for. Raises Refused where it cannot but must."""
    against = reason_against(model, use_cache=bool(options.get("use_cache", True)))
    if options.get("traffic") == "continuous" and against:
        raise Refused(f"pytorch: traffic='continuous': {against}; take 'queue'")
    return "queue" if against or options.get("traffic") == "queue" else "continuous"


def possible_batches(work: dict[str, Any], traffic: str) -> list[list[int]]:
    """Which requests may share a batch's padding: any, where a queue forms batches; none in continuous batching."""
    places = list(range(len(work["requests"])))
    return [places] if traffic == "queue" and work["batch"] > 1 else [[place] for place in places]
