"""The arithmetic of a pass: how many floating-point operations its tokens take, and how that was found."""

from __future__ import annotations

from typing import Literal

from pytest_lem.model.frozen import Frozen

Method = Literal["calflops", "analytic", "counted", "parameters"]


class Coefficients(Frozen):
    """What one token costs, in FLOPs (a multiplication and an addition are two), from which any request follows.

    `per_token`: each token through the layers; `per_position`: each position that it attends to, itself included;
    `per_sample`: each token that is sampled, through the head. `positions` bounds the context that they hold for
    (a sliding window); null: any.
    """

    per_token: float
    per_position: float
    per_sample: float
    positions: int | None = None


class Arithmetic(Frozen):
    """FLOPs of one pass of the workload, and the bytes that its decoding reads; nothing here is measured.

    FLOPs are logical: of each request's own tokens (no padding), each attending to those before it (no masked half),
    whatever precision or quantisation computes them. `method` says who answered; null with `reason` where nobody could.
    `decode_tokens` are output tokens after each request's first, which is prefill's. `decode_steps` are the forward
    passes that make them; `weights_read_bytes` are read once a step, `kv_read_bytes` are the keys and values that the
    tokens attend to: all of one pass, summed over GPUs, null with `bytes_reason`. `notes` name what another method
    said, and why it did not answer.
    """

    method: Method | None
    reason: str | None = None
    coefficients: Coefficients | None = None
    prefill_flops: float | None = None
    decode_flops: float | None = None
    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    decode_tokens: int = 0
    decode_steps: int | None = None
    weights_read_bytes: float | None = None
    kv_read_bytes: float | None = None
    bytes_reason: str | None = None
    notes: tuple[str, ...] = ()
