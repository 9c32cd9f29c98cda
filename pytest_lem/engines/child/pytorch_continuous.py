"""Traffic by transformers' continuous batching: requests join and leave between two tokens of the others."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from .arrivals import Arrivals, Sent
from .faults import Refused
from .pytorch_decoding import Manner, generation

# On a GPU transformers takes both from the free memory; on a CPU that would be all of the machine's.
CPU_BATCH_TOKENS = 512
CPU_POOL_BYTES = 1 << 30
PAGE_TOKENS = 256
# The scheduler keeps a fifth of the pages free for the requests that it has.
SPARE = 1.5
ANSWER_SECONDS = 1.0


def reason_against(model: Any, *, use_cache: bool) -> str | None:
    """Why this model cannot be batched continuously, or None."""
    if not hasattr(model, "init_continuous_batching"):
        return "this transformers does not have it"
    if not use_cache:
        return "it needs use_cache"
    if len({*getattr(model, "hf_device_map", {}).values()}) > 1:
        return "the model's layers lie on several devices"
    attention = str(model.config._attn_implementation)
    if not attention.startswith(("sdpa", "eager", "flash", "paged|")):
        return f"it does not run with attention_implementation={attention!r}"
    config = model.config.get_text_config()
    strange = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if strange or getattr(model, "_is_stateful", False):
        return f"the model has other layers than attention ({', '.join(sorted(strange)) or 'a state'})"
    return None


@dataclasses.dataclass(frozen=True)
class Answered:
    """One request that was answered: how it was sent, and what transformers told (its stamps are monotonic seconds)."""

    sent: Sent
    output: Any


class Continuous:
    """A work that comes over time. The manager's thread lives from here to `close`, and sleeps while nothing comes."""

    way = "continuous"

    def __init__(self, model: Any, work: dict[str, Any], device: torch.device) -> None:
        self.work = work
        config = generation(work["decoding"], 1, Manner())
        config.eos_token_id = -1  # none; without it transformers warns
        config.min_new_tokens = None  # the number is each request's own
        check_processors(model, config)
        self.manager = model.init_continuous_batching(
            generation_config=config, continuous_batching_config=settings(model, work, device)
        )
        if device.type == "cuda" and hasattr(self.manager, "warmup"):
            self.manager.warmup()
        self.manager.start()

    def arm(self, passes: int, hooks: bool) -> None:  # noqa: ARG002 - the other ways need both
        """Forget the last run."""
        self.hooks = hooks
        self.tokens = self.number = 0
        self.answers: list[Answered] = []

    def run_pass(self) -> None:
        """Send every request when it is due, until all are answered."""
        sent: dict[str, Sent] = {}
        arrivals = Arrivals(self.work, lambda request: self._send(request, sent))
        arrivals.begin()
        for _ in self.work["requests"]:
            output = self._next_answer()
            self.answers.append(Answered(sent[output.request_id], output))
            self.tokens += len(output.generated_tokens)
            arrivals.answered()
        self.number += 1

    def _send(self, request: Sent, sent: dict[str, Sent]) -> None:
        name = f"{self.number}-{request.place}"
        sent[name] = request
        asked = self.work["requests"][request.place]
        self.manager.add_request(
            asked["prompt"],
            request_id=name,
            max_new_tokens=asked["output_tokens"],
            record_timestamps=self.hooks,
            eos_token_id=-1,
        )

    def _next_answer(self) -> Any:
        """The next finished request. What goes wrong in the manager's thread is logged there, and raised here."""
        while True:
            output = self.manager.get_result(timeout=ANSWER_SECONDS)
            if output is None and not self.manager.is_running():
                raise _fault(str(getattr(self.manager.background_thread_status, "fatal_error", "see its log")))
            if output is not None and output.error is not None:
                raise _fault(output.error)
            if output is not None and output.is_finished():
                return output

    def token_ids(self) -> list[list[int]]:
        """The last pass's new tokens, in the order of the requests."""
        last = self.answers[-len(self.work["requests"]) :]
        return [answer.output.generated_tokens for answer in sorted(last, key=lambda answer: answer.sent.place)]

    def request_times(self, began: float) -> list[dict[str, Any]]:
        """One entry a request, by transformers' own stamps of its tokens."""
        return [self._times(answer, began) for answer in self.answers] if self.hooks else []

    def _times(self, answer: Answered, began: float) -> dict[str, Any]:
        sent, stamps = answer.sent, answer.output.timestamps
        scheduled, finished = answer.output.lifespan
        gaps = [1e3 * (second - first) for first, second in pairwise(stamps)]
        return {
            "index": sent.place,
            "due_ms": 1e3 * (sent.due - began),
            "sent_ms": 1e3 * (sent.sent - began),
            "ttft_ms": 1e3 * (stamps[0] - sent.due),
            "gaps_ms": gaps,
            "queue_ms": 1e3 * (scheduled - sent.sent),
            "prefill_ms": 1e3 * (stamps[0] - scheduled),
            "decode_ms": 1e3 * (stamps[-1] - stamps[0]),
            "e2e_ms": 1e3 * (finished - sent.due),
        }

    def counters(self) -> dict[str, float]:
        """Nothing is padded, and nobody runs on."""
        return {"padding_tokens": 0, "wasted_tokens": 0}

    def close(self) -> None:
        """End the manager's thread, and give its pages back."""
        self.manager.stop(block=True)
        if hasattr(self.manager, "destroy"):
            self.manager.destroy()


PROCESSORS = {
    "Repetition": "repetition_penalty",
    "Typical": "typical_p",
    "MinP": "min_p",
    "TopH": "top_h",
    "Epsilon": "epsilon_cutoff",
    "Eta": "eta_cutoff",
}
"""The field that makes a processor, by how its class is called."""


def check_processors(model: Any, config: GenerationConfig) -> None:
    """Raise Refused for a way to draw that continuous batching would leave out in silence."""
    for processor in model._get_logits_processor(config):
        if getattr(processor, "supports_continuous_batching", None) is False:
            kind = type(processor).__name__
            name = next((field for word, field in PROCESSORS.items() if kind.startswith(word)), kind)
            raise Refused(
                f"decoding.{name}: transformers leaves it out under continuous batching; "
                "take pytorch={'traffic': 'queue'}, or leave it out"
            )


def settings(model: Any, work: dict[str, Any], device: torch.device) -> ContinuousBatchingConfig:
    """No prompts shared between repeats, the attention that was asked for, and on a CPU a pool that fits the work."""
    asked: dict[str, Any] = {"allow_block_sharing": False, "auto_switch_to_flash": False}
    if device.type == "cpu":
        asked |= {"max_batch_tokens": CPU_BATCH_TOKENS, "num_blocks": cpu_pages(model, work)}
    known = {field.name for field in dataclasses.fields(ContinuousBatchingConfig)}
    return ContinuousBatchingConfig(**{name: value for name, value in asked.items() if name in known})


def cpu_pages(model: Any, work: dict[str, Any]) -> int:
    """Pages for all requests that may run at once, of at most CPU_POOL_BYTES; for the largest request in any case."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    page_bytes = 2 * config.num_hidden_layers * heads * size * PAGE_TOKENS * model.dtype.itemsize
    needs = [math.ceil((len(each["prompt"]) + each["output_tokens"] + 1) / PAGE_TOKENS) for each in work["requests"]]
    together = sum(sorted(needs, reverse=True)[: work["concurrency"] or len(needs)])
    pages: int = max(*needs, min(together, CPU_POOL_BYTES // page_bytes), 1)
    return math.ceil(SPARE * pages) + 1


def _fault(words: str) -> Exception:
    told = " ".join(words.split())
    if "out of memory" in told.lower():
        return MemoryError(told)
    return RuntimeError(f"continuous batching failed: {told}")
