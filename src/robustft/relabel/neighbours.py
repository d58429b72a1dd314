"""The k nearest clean rows of a question, by cosine similarity of embeddings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from robustft.llm.embedder import Embedder
from robustft.records import Example

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


async def clean_neighbours(
    examples: Sequence[Example],
    asked: Sequence[int],
    clean: Sequence[int],
    k: int,
    open_embedder: Callable[[], Awaitable[Embedder]],
) -> list[list[int]]:
    """Return for each row of `asked` its up to k nearest rows of `clean`; both are places in `examples`.

    All rows are embedded at once, by what is asked.
    """
    if not clean or k == 0:
        return [[] for _ in asked]
    texts = [example.asked for example in examples]
    vectors = await (await open_embedder()).embed(texts)
    groups = np.unique(np.array([" ".join(text.casefold().split()) for text in texts]), return_inverse=True)[1]
    rows, pool = np.array(asked, dtype=np.int64), np.array(clean, dtype=np.int64)
    found = nearest(vectors[rows], vectors[pool], k, groups[rows], groups[pool])
    return [[clean[index] for index in row] for row in found]
