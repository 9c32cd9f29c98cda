"""Tokens that a stream brought together, and the time between each of them and the next."""

from __future__ import annotations

from collections.abc import Sequence


def token_gaps(chunks: Sequence[tuple[float, int]]) -> list[float]:
    """Seconds from each token to the next, of one request: `chunks` are when some arrived, and how many.

    A gap is divided by the tokens that came with its end, as AIPerf does; between those of the first chunk lies none.
    """
    gaps = [0.0] * (chunks[0][1] - 1)
    before = chunks[0][0]
    for stamp, tokens in chunks[1:]:
        gaps += [(stamp - before) / tokens] * tokens
        before = stamp
    return gaps
