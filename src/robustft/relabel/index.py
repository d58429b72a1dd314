"""An index of a large pool of vectors: a query's nearest rows, nearly always, without a look at all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.relabel.nearest import allowed, nearest

RECALL = 0.95
"""Share of the truly nearest rows that is to be found; what a query looks at is doubled until it is reached."""
_SAMPLE = 200
_SLACK = 16
"""Rows that are looked up beyond k, for those that are passed over."""
_BLOCK = 8192


def indexed(
    queries: NDArray[np.float32],
    pool: NDArray[np.float32],
    k: int,
    query_groups: NDArray[np.int64],
    pool_groups: NDArray[np.int64],
) -> tuple[list[list[int]], float]:
    """Return what `nearest` would, nearly, and the recall: the share of the truly nearest that is among it.

    The recall is that of up to 200 queries, drawn at random, whose nearest rows are also found exactly. An inverted
    file (faiss, IVF) with vectors in float16: the pool is dealt to cells, and a query looks at the nearest few. A
    query of which fewer than k rows are left looks at all rows. Needs faiss.
    """
    index = _build(pool)
    sample = np.random.default_rng(0).permutation(len(queries))[:_SAMPLE]
    exact = nearest(queries[sample], pool, k, query_groups[sample], pool_groups)
    recall, looks = 0.0, 8
    while recall < RECALL and looks < index.nlist:
        looks = min(2 * looks, index.nlist)
        index.nprobe = looks
        found = _search(index, queries[sample], pool, k, query_groups[sample], pool_groups)
        recall = _recall(found, exact)
    return _search(index, queries, pool, k, query_groups, pool_groups), recall


def _build(pool: NDArray[np.float32]) -> Any:
    import faiss

    cells = int(4 * np.sqrt(len(pool)))
    index = faiss.index_factory(pool.shape[1], f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
    learnt = np.random.default_rng(0).permutation(len(pool))[: 64 * cells]
    index.train(pool[np.sort(learnt)])
    for start in range(0, len(pool), _BLOCK):
        index.add(pool[start : start + _BLOCK])
    return index


def _search(
    index: Any,
    queries: NDArray[np.float32],
    pool: NDArray[np.float32],
    k: int,
    query_groups: NDArray[np.int64],
    pool_groups: NDArray[np.int64],
) -> list[list[int]]:
    found: list[list[int]] = []
    for start in range(0, len(queries), _BLOCK):
        some, groups = queries[start : start + _BLOCK], query_groups[start : start + _BLOCK]
        _, places = index.search(some, min(k + _SLACK, len(pool)))
        for query, group, row in zip(some, groups, places, strict=True):
            near = np.sort(row[row >= 0])
            cosine = pool[near] @ query
            ok = allowed(cosine, group, pool_groups[near])
            order = np.argsort(-cosine[ok], kind="stable")[:k]
            found.append(near[ok][order].tolist())
    for place in (place for place, row in enumerate(found) if len(row) < k):
        one = slice(place, place + 1)
        found[place] = nearest(queries[one], pool, k, query_groups[one], pool_groups)[0]
    return found


def _recall(found: list[list[int]], exact: list[list[int]]) -> float:
    hits = sum(len(set(row) & set(truth)) for row, truth in zip(found, exact, strict=True))
    return hits / max(sum(map(len, exact)), 1)
