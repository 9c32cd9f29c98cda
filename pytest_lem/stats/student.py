"""Student's t with whole degrees of freedom, by its finite sums: no library has to be loaded for it.

Abramowitz and Stegun, 26.7.3 and 26.7.4. Who compares two runs waits for nothing else as long as for scipy.
"""

from __future__ import annotations

from math import atan, cos, fsum, inf, pi, sin, sqrt


def chance_below(df: int, t: float) -> float:
    """The chance of a value below `t`; its error is about 1e-16, however small it is. Raises ValueError for df < 1."""
    if df < 1:
        raise ValueError(f"{df} degrees of freedom: one at least")
    angle = atan(t / sqrt(df))
    factor = cos(angle)
    # From 1 (even) or cos (odd) on, each term is the last one times cos² and (k − 1) / k.
    terms, k = ([factor], 3) if df % 2 else ([1.0], 2)
    while k < df:
        terms.append(terms[-1] * factor**2 * (k - 1) / k)
        k += 2
    total = sin(angle) * fsum(terms) if df > 1 else 0.0
    within = 2 / pi * (angle + total) if df % 2 else total
    return (1 + within) / 2


def quantile(df: int, share: float) -> float:
    """The value with a chance of `share` below it. Raises ValueError for a share that is none, or df < 1."""
    if not 0 < share < 1:
        raise ValueError(f"a share is between 0 and 1, not {share}")
    if share < 0.5:
        return -quantile(df, 1 - share)
    low, high = 0.0, 1.0
    while chance_below(df, high) < share and high < inf:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        if chance_below(df, middle) < share:
            low = middle
        else:
            high = middle
    return high
