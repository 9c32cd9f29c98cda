"""FLOPs of requests from what one token costs. A prompt of P tokens, an answer of N: P + N − 1 tokens are computed."""

from __future__ import annotations

from pytest_lem.model.arithmetic import Coefficients
from pytest_lem.model.errors import Unavailable


def token(cost: Coefficients, context: int, *, sampled: bool) -> float:
    """FLOPs of one token that attends to `context` positions, itself included; with the head where it is `sampled`."""
    return cost.per_token + context * cost.per_position + sampled * cost.per_sample


def prefill(cost: Coefficients, prompt: int) -> float:
    """FLOPs of a prompt's tokens, and of the head that samples the first new one."""
    return prompt * cost.per_token + prompt * (prompt + 1) / 2 * cost.per_position + cost.per_sample


def decode(cost: Coefficients, prompt: int, output: int) -> float:
    """FLOPs of the output tokens after the first."""
    steps = output - 1
    return steps * (cost.per_token + cost.per_sample) + positions(prompt, output) * cost.per_position


def whole(cost: Coefficients, prompt: int, output: int) -> float:
    """FLOPs of a request."""
    return prefill(cost, prompt) + decode(cost, prompt, output)


def positions(prompt: int, output: int) -> int:
    """Positions that the steps of decoding attend to, summed: the i-th sees P + i of them."""
    steps = output - 1
    return steps * prompt + steps * (steps + 1) // 2


def check(cost: Coefficients, prompt: int, output: int) -> None:
    """Raise Unavailable where a request sees more than the positions that `cost` holds for."""
    if cost.positions is not None and prompt + output - 1 > cost.positions:
        raise Unavailable(
            "flops", f"a request of {prompt} + {output} tokens is longer than the model's window of {cost.positions}"
        )
