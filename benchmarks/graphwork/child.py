"""Fixed GPU work in a process of its own: one CUDA graph of bfloat16 matrix products, replayed on request.

Started by path; talks JSON lines on its standard input and output, and ends when its input does. It is a process of
its own for the reason that engines are: whoever measures is idle meanwhile, and both stamp time.monotonic_ns().
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import torch

_SPIN_NS = 2_000_000


def wait_until(instant: int) -> None:
    """Sleep, then spin for the last 2 ms: a sleep alone can wake late."""
    left = instant - _SPIN_NS - time.monotonic_ns()
    if left > 0:
        time.sleep(left / 1e9)
    while time.monotonic_ns() < instant:
        pass


class GraphWork:
    """Matrix products of one size, captured so that one replay lasts about `target_ms`."""

    def __init__(self) -> None:
        self.graph: torch.cuda.CUDAGraph | None = None

    def build(self, size: int, target_ms: float, seed: int) -> dict[str, Any]:
        """Capture the graph; tell its products and how long one replay takes once the clocks are up."""
        torch.manual_seed(seed)
        self.graph = None
        left, right, out = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        right /= size**0.5
        one = self._time(lambda: torch.mm(left, right, out=out), 200)
        products = max(1, round(target_ms / 1e3 / one))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(products):
                torch.mm(left, right, out=out)
        self.graph, self.held = graph, (left, right, out)
        seconds = self._time(graph.replay, max(3, round(1.0 / (one * products))))
        name = torch.cuda.get_device_name()
        return {"size": size, "products": products, "replay_seconds": seconds, "torch": torch.__version__, "gpu": name}

    @staticmethod
    def _time(action: Any, count: int) -> float:
        """Seconds of one `action`, over the second half of `count`."""
        for _ in range(count // 2 + 1):
            action()
        torch.cuda.synchronize()
        began = time.monotonic_ns()
        for _ in range(count // 2 + 1):
            action()
        torch.cuda.synchronize()
        return (time.monotonic_ns() - began) / 1e9 / (count // 2 + 1)

    def run(self, replays: int, start_ns: int) -> dict[str, Any]:
        """Replay from `start_ns` on (at once where it has passed); the end is stamped after the device is done."""
        if self.graph is None:
            raise RuntimeError("run before build")
        torch.cuda.synchronize()
        wait_until(start_ns)
        began = time.monotonic_ns()
        for _ in range(replays):
            self.graph.replay()
        torch.cuda.synchronize()
        return {"start_ns": began, "end_ns": time.monotonic_ns(), "replays": replays}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the error stream
    work = GraphWork()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = getattr(work, request.pop("do"))(**request)
        except Exception as error:  # noqa: BLE001 - it is told to the parent, which decides
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
