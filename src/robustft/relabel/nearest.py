"""The k nearest rows of a query, exactly, by cosine similarity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME = 0.95
"""Cosine similarity from which two questions count as the same one: its answer would give the row's own away."""
_NUMBERS = 1 << 25
"""Similarities that are held at once, 128 MB of them."""


def nearest(
    queries: NDArray[np.float32],
    pool: NDArray[np.float32],
    k: int,
    query_groups: NDArray[np.int64],
    pool_groups: NDArray[np.int64],
    numbers: int = _NUMBERS,
) -> list[list[int]]:
    """Return for each query the indices of its up to k nearest pool rows, nearest first.

    `queries` (N, d) and `pool` (M, d) are unit rows. A pool row of the query's own group (the row itself, or the
    same text) and one with a cosine of at least SAME are passed over; so fewer than k may be left. Ties go to the
    lower index. Runs over blocks of queries with about `numbers` similarities each.
    """
    if k == 0 or len(pool) == 0:
        return [[] for _ in queries]
    found: list[list[int]] = []
    block = max(1, numbers // len(pool))
    for start in range(0, len(queries), block):
        cosine = queries[start : start + block] @ pool.T
        for row, group in zip(cosine, query_groups[start : start + block], strict=True):
            row[~allowed(row, group, pool_groups)] = -np.inf
            # all that are at least as near as the k-th, of which ties may be more than k
            least = np.partition(row, -k)[-k] if k < len(row) else -np.inf
            near = np.flatnonzero((row >= least) & (row > -np.inf))
            found.append(near[np.argsort(-row[near], kind="stable")[:k]].tolist())
    return found


def allowed(cosine: NDArray[np.float32], group: Any, pool_groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows aren't passed over, by their cosine with a query and their groups, (M,) each."""
    return np.asarray((pool_groups != group) & (cosine < SAME))
