"""The k nearest clean rows of a question, by cosine similarity of embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME = 0.95
"""Cosine similarity from which two questions count as the same one: its answer would give the row's own away."""


def nearest(
    queries: NDArray[np.float32],
    pool: NDArray[np.float32],
    k: int,
    query_groups: NDArray[np.int64],
    pool_groups: NDArray[np.int64],
    block: int = 1024,
) -> list[list[int]]:
    """Return for each query the indices of its up to k nearest pool rows, nearest first.

    `queries` (N, d) and `pool` (M, d) are unit rows. A pool row of the query's own group (the row itself, or the
    same text) and one with a cosine of at least SAME are passed over; so fewer than k may be left. Ties go to the
    lower index. Exact, in blocks of `block` queries: memory O(block * M).
    """
    if k == 0 or len(pool) == 0:
        return [[] for _ in queries]
    found: list[list[int]] = []
    for start in range(0, len(queries), block):
        cosine = queries[start : start + block] @ pool.T
        same = query_groups[start : start + block, None] == pool_groups[None, :]
        cosine = np.where(same | (cosine >= SAME), -np.inf, cosine)
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        found.extend(
            [int(column) for column in columns if cosine[row, column] > -np.inf] for row, columns in enumerate(order)
        )
    return found
