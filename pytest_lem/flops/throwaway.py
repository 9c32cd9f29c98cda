"""Counting in a process of its own, under the engine's interpreter: pytest's never imports torch.

calflops leaves torch patched when it raises, so a process counts once and ends.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pytest_lem.model.arithmetic import Coefficients
from pytest_lem.model.errors import Unavailable

Counter = Literal["counted", "calflops"]

SCRIPT = Path(__file__).parent / "child" / "count.py"
SECONDS = 300.0
# Three contexts have to differ; and where nobody says how long requests are.
SHORTEST, LONGEST = 3, 128
STRAIGHT = {"counted": 1e-6, "calflops": 1e-3}
"""How far the middle context may be off the line through the others (relative): calflops counts more than products."""


def coefficients(counter: Counter, found: Mapping[str, Any]) -> Coefficients:
    """What one token costs in contexts up to the longest that was counted at.

    Raises Unavailable where counts are on no line, as beyond a window that layers attend to.
    """
    (start, middle, end), (first, second, third) = found["contexts"], found["tokens"]
    slope = (third - first) / (end - start)
    if abs(first + slope * (middle - start) - second) > STRAIGHT[counter] * second:
        raise Unavailable("flops", f"{counter}: FLOPs do not grow evenly with the context up to {end} tokens")
    per_token = first - slope * start - found["head"]
    return Coefficients(per_token=per_token, per_position=slope, per_sample=found["head"], positions=end)


def count(
    counter: Counter,
    model: Mapping[str, Any],
    python: str,
    environment: Mapping[str, str],
    *,
    longest: int = LONGEST,
    prompt: int | None = None,
) -> dict[str, Any]:
    """What the counter sees of `model` (`source` and `location` as a load request has them, or `shape`).

    `tokens`: FLOPs of one sampled token at each of `contexts` up to the `longest`, half of it among them: layers that
    attend to fewer positions from some context on are seen there. `head` are those of the head, `parameters` their
    number; with `prompt` also those of so many tokens at once, as eager attention computes them, the masked half
    included. Raises Unavailable with the last line of what went wrong.
    """
    with tempfile.TemporaryDirectory(prefix="lem-flops-") as folder:
        request, result = Path(folder, "request.json"), Path(folder, "result.json")
        asked = {**model, "method": counter, "contexts": (1, (1 + longest) // 2, longest), "prompt": prompt}
        request.write_text(json.dumps(asked), encoding="utf-8")
        command = [python, str(SCRIPT), str(request), str(result)]
        try:
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=dict(environment),
                timeout=SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable("flops", f"{counter}: {type(error).__name__}") from None
        if ended.returncode or not result.is_file():
            raise Unavailable("flops", f"{counter}: {_last_line(ended.stderr)}")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
