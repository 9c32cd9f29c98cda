"""The TensorRT-LLM engine: exactly the new tokens that each request asks for, passes back to back.

Built to the published contract of 1.0 to 1.4 (tests/tensorrt_contracts), and not yet run on a real installation.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .faults import Refused
from .tensorrt_arguments import engine_arguments, set_environment
from .tensorrt_faults import worker_faults
from .tensorrt_records import Answer, request_times
from .tokenizer import Tokenizer, check_length

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}


class Adapter:
    """One TensorRT-LLM engine, in this process or those that it starts. See `adapter.AdapterProtocol`."""

    def load(self, request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        """Check the options, start the engine, read back what it is."""
        set_environment(request)
        let_workers_import_main()
        arguments = engine_arguments(request, str(request["location"]))
        if request["device"] == "cpu":
            raise Refused("tensorrt: TensorRT-LLM needs an NVIDIA GPU; take pytorch or vllm on a CPU")
        self.runtime = request["options"]["runtime"]
        self.longest_input = request["options"].get("max_input_len")
        check_precision(request, self.runtime)
        progress("importing tensorrt_llm")
        from . import tensorrt_driver, tensorrt_observe  # half a minute long: what cannot be has been refused by now

        building = "building the engine of" if self.runtime == "engine" else "loading"
        progress(f"{building} {request['model']}; a first start takes minutes")
        self.folder = tempfile.TemporaryDirectory(prefix="lem-model-")  # workers may read it late
        if request["source"] == "synthetic":
            arguments["model"] = write_shape(Path(request["location"]), Path(self.folder.name), request["precision"])
        began_ns = time.monotonic_ns()
        with worker_faults():
            self.driver = tensorrt_driver.Driver(tensorrt_driver.open_llm(arguments, self.runtime))
        self.tokenizer = Tokenizer(request)
        self.here = tensorrt_observe.in_this_process(self.driver.llm) and self.runtime == "pytorch"
        self.limits = tensorrt_observe.limits(self.driver.llm)
        observed = tensorrt_observe.observe(self.driver.llm, request)
        if observed["build"] and len(request["gpus"]) == 1:
            observed["build"]["start_ns"] = began_ns  # of several, workers come up first, and nothing tells how long
        self.weights = observed["weights_bytes"]
        return {**observed, "tokenizer": self.tokenizer.name}

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The token ids of texts."""
        return [self.tokenizer.token_ids(text) for text in texts]

    def prepare(self, work: dict[str, Any]) -> list[int]:
        """Keep the prompts as token ids; requests are made anew in each pass, as they are in deployment."""
        from .tensorrt_sampling import check_sampling

        args = self.driver.llm.args
        requests = work["requests"]
        for place in range(len(requests)):
            check_length(requests, [place], self.limits["max_seq_len"])
        longest = max(len(request["prompt"]) for request in requests)
        if not args.enable_chunked_prefill:
            check_longest(longest, self.limits["max_num_tokens"], "max_num_tokens")
        # What nobody asked for is 1024 there, and holds nobody to it.
        check_longest(longest, self.longest_input, "max_input_len")
        check_sampling(work["decoding"], args, self.runtime)
        self.work = work
        return [len(request["prompt"]) for request in requests]

    def arm(self, passes: int, hooks: bool) -> None:
        """Forget the last run, wait for the device where it is this process's own."""
        self.passes, self.hooks = passes, hooks
        self.answers: list[list[Answer]] = []
        if self.here:
            import torch

            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()

    def run(self) -> None:
        """The window: pass after pass; a pass ends when its last request is answered."""
        from .tensorrt_sampling import sampling

        self.began = time.monotonic()
        with worker_faults():
            for _ in range(self.passes):
                answers = self.driver.run(self.work, lambda index: sampling(self.work, index), hooks=self.hooks)
                self.answers.append(answers)

    def collect(self) -> dict[str, Any]:
        """Counts, the last pass's new tokens, token times, memory peaks."""
        everything = [answer for answers in self.answers for answer in answers]
        rows = [answer.token_ids for answer in self.answers[-1]]
        return {
            "tokens": sum(len(answer.token_ids) for answer in everything),
            "token_ids": rows,
            "texts": self.tokenizer.texts(rows),
            "request_times": [request_times(answer, self.began) for answer in everything] if self.hooks else [],
            "counters": self._counters(everything),
            "memory": self._memory(),
        }

    def _counters(self, answers: list[Answer]) -> dict[str, float]:
        cached = [answer.cached_tokens for answer in answers]
        told: dict[str, float | None] = {
            "cached_tokens": None if None in cached else sum(each or 0 for each in cached),
            "weights_bytes": self.weights,
        }
        return {name: value for name, value in told.items() if value is not None}

    def _memory(self) -> list[dict[str, Any]]:
        """The peak of this process's tensors; none where the engine runs in others, or outside of PyTorch."""
        if not self.here:
            return []
        import torch

        return [
            {
                "device": f"GPU-{torch.cuda.get_device_properties(0).uuid}",
                "allocated_bytes": torch.cuda.max_memory_allocated(0),
                "reserved_bytes": torch.cuda.max_memory_reserved(0),
            }
        ]

    def close(self) -> None:
        """End the engine's processes."""
        self.driver.close()
        self.folder.cleanup()


def let_workers_import_main() -> None:
    """Have the workers that mpi4py starts run this process's file by its path, where its guard ends it at once.

    They import what their parent runs by the module's name where there is one, and that of a folder which is run by its
    path is `__main__`: nobody can import that, MPI aborts them, and their parent waits for ever.
    """
    sys.modules["__main__"].__spec__ = None


def check_longest(longest: int, limit: int | None, name: str) -> None:
    """Raise Refused for a prompt that is longer than the engine takes."""
    if limit is not None and longest > limit:
        raise Refused(f"prompt_tokens: a prompt of {longest} tokens is over {name}={limit}; set it in tensorrt={{...}}")


def check_precision(request: dict[str, Any], runtime: str) -> None:
    """Raise Refused for a precision that the PyTorch runtime would not take: it loads a model as its files say."""
    if runtime != "pytorch" or request["source"] != "folder":
        return
    config = json.loads((Path(request["location"]) / "config.json").read_text(encoding="utf-8"))
    held = config.get("dtype") or config.get("torch_dtype")
    if held is not None and held != request["precision"]:
        raise Refused(
            f"--lem-precision: tensorrt's PyTorch runtime runs a model as its files say, in {held}, "
            f"not {request['precision']}; ask for that, or take tensorrt={{'runtime': 'engine'}}"
        )


def write_shape(location: Path, folder: Path, precision: str) -> str:
    """A bundled shape as the folder that TensorRT-LLM wants: its configuration, and no weights."""
    shape = json.loads(location.read_text(encoding="utf-8"))
    kind = shape["model_type"]
    if kind not in ARCHITECTURES:
        raise Refused(f"--lem-model: tensorrt: no architecture is known for {kind!r}; give a folder")
    # The older name of the field too: transformers 4 reads it.
    shape |= {"architectures": [ARCHITECTURES[kind]], "dtype": precision, "torch_dtype": precision}
    (folder / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    return str(folder)
