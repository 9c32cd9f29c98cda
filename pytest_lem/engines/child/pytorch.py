"""The PyTorch engine: transformers' `generate`, greedy, exactly N new tokens a request, passes back to back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from . import pytorch_model, pytorch_observe
from .pytorch_memory import device_peaks, memory_faults
from .pytorch_times import TokenClock
from .tokenizer import Tokenizer, check_length


class Adapter:
    """One model on one device. See `adapter.AdapterProtocol` for who calls what, and when."""

    def load(self, request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        """Load the model and read back what it is; the probe that tells also is the first two tokens it makes."""
        options = request["options"]
        self.device = pytorch_model.find_device(request["device"])
        self.use_cache = bool(options.get("use_cache", True))
        if options.get("num_threads"):
            torch.set_num_threads(options["num_threads"])
        progress(f"loading {request['model']}")
        with memory_faults():
            self.model = pytorch_model.load_model(request, self.device)
            self.tokenizer = Tokenizer(request)
            self.clock: TokenClock | None = None
            self.last: torch.Tensor | None = None
            observed = pytorch_observe.observe(self.model, options, self._generation(2))
        self.weights_bytes = observed["weights_bytes"]
        return {**observed, "tokenizer": self.tokenizer.name}

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The token ids of texts."""
        return [self.tokenizer.token_ids(text) for text in texts]

    def prepare(self, work: dict[str, Any]) -> list[int]:
        """Left-pad the prompts into one batch on the device."""
        rows = [request["prompt"] for request in work["requests"]]
        self.output_tokens = work["requests"][0]["output_tokens"]
        width = max(len(row) for row in rows)
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        check_length(width, self.output_tokens, limit)
        with memory_faults():
            self.input_ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=self.device)
            mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
            self.attention_mask = torch.tensor(mask, device=self.device)
        self.generation = self._generation(self.output_tokens)
        return [len(row) for row in rows]

    def arm(self, passes: int, hooks: bool) -> None:
        """Forget the last run, make the hooks' events, reset the memory peaks, wait for the device."""
        self.passes = passes
        self.tokens = 0
        self.last = None
        self.clock = TokenClock(self.device, passes, self.output_tokens) if hooks else None
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)

    def run(self) -> None:
        """The window: `generate` again and again, then wait for the device."""
        hooks = LogitsProcessorList([self.clock]) if self.clock else None
        with memory_faults():
            for _ in range(self.passes):
                if self.clock:
                    self.clock.begin()
                self.last = self.model.generate(
                    input_ids=self.input_ids,
                    attention_mask=self.attention_mask,
                    generation_config=self.generation,
                    logits_processor=hooks,
                )
                self.tokens += self.last.shape[0] * (self.last.shape[1] - self.input_ids.shape[1])
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

    def collect(self) -> dict[str, Any]:
        """Counts, the last pass's new tokens, token times and memory peaks."""
        if self.last is None:
            raise RuntimeError("nothing has run yet")
        ids = self.last[:, self.input_ids.shape[1] :].tolist()
        return {
            "tokens": self.tokens,
            "token_ids": ids,
            "texts": self.tokenizer.texts(ids),
            "request_times": self.clock.times(count=len(ids)) if self.clock else [],
            "memory": device_peaks(self.device),
            "counters": {"weights_bytes": self.weights_bytes},
        }

    def close(self) -> None:
        """Drop the model and give its memory back."""
        self.model = self.last = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _generation(self, tokens: int) -> GenerationConfig:
        """Exactly `tokens` new ones: no end token exists, so none can end a request early or pad it."""
        return GenerationConfig(
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            use_cache=self.use_cache,
            eos_token_id=None,
            pad_token_id=0,
        )
