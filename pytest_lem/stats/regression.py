"""Least squares whose errors come from leaving out one block of observations after the other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_lem.stats.intervals import student

Array = NDArray[np.float64]
_RIDGE = 1e-12
"""Of a column's square: a design without full rank is solved too, and what it cannot tell shows in `inflation`."""


@dataclass(frozen=True)
class Block:
    """Observations that belong together: their `design` (n × p) and their `values` (n)."""

    design: Array
    values: Array


@dataclass(frozen=True)
class Regression:
    """The p coefficients, half of each one's 95 % interval, and its variance inflation factor.

    The factor is ‖x‖² over the squared length of what the other columns leave of x: 1 where they tell nothing of it,
    some 10¹² where they tell all. Columns are not centred, so that a constant one counts among the others.
    """

    coefficients: Array
    half_widths: Array
    inflation: Array


def regression(blocks: Sequence[Block]) -> Regression:
    """Least squares over all blocks, without an intercept. Raises ValueError for fewer than two blocks.

    Errors are those of the delete-one-block jackknife (CR3: MacKinnon, Nielsen and Webb, Cluster-robust inference,
    Journal of Econometrics 232, 2023), with t of blocks − 1 degrees of freedom: whatever goes together inside a block,
    and differs from block to block, is in them, and no length of memory is assumed.
    """
    if len(blocks) < 2:
        raise ValueError("two blocks are the least that tell an error")
    scale = np.linalg.norm(np.concatenate([block.design for block in blocks]), axis=0)
    scale[scale == 0] = 1.0
    grams = np.array([(block.design / scale).T @ (block.design / scale) for block in blocks])
    moments = np.array([(block.design / scale).T @ block.values for block in blocks])
    gram, moment = grams.sum(axis=0), moments.sum(axis=0)
    inverse = _inverse(gram)
    found = inverse @ moment
    without = [_inverse(gram - one) @ (moment - its) for one, its in zip(grams, moments, strict=True)]
    count = len(blocks)
    errors = np.sqrt((count - 1) / count * np.square(np.array(without) - found).sum(axis=0))
    wide = student(count - 1)
    return Regression(found / scale, wide * errors / scale, np.diag(inverse))


def _inverse(gram: Array) -> Array:
    return np.asarray(np.linalg.inv(gram + _RIDGE * np.eye(len(gram))), dtype=float)
