from __future__ import annotations

import numpy as np
import pytest

from robustft.relabel.index import RECALL, indexed
from robustft.relabel.nearest import SAME, nearest

pytest.importorskip("faiss")


def clustered(rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((40, 24))
    vectors = middles[rng.integers(40, size=rows)] + 0.7 * rng.standard_normal((rows, 24))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_an_index_finds_nearly_all_that_a_look_at_every_row_finds() -> None:
    pool = clustered(6000)
    groups = np.arange(len(pool))
    found, recall = indexed(pool[:500], pool, 3, groups[:500], groups)
    exact = nearest(pool[:500], pool, 3, groups[:500], groups)
    hits = sum(len(set(row) & set(truth)) for row, truth in zip(found, exact, strict=True))
    assert recall >= RECALL
    assert hits / 1500 >= RECALL - 0.03
    for place, row in enumerate(found):
        cosine = pool[row] @ pool[place]
        assert place not in row
        assert len(row) == 3
        assert (cosine < SAME).all()
        assert (np.diff(cosine) <= 0).all()


def test_a_query_with_too_many_duplicates_looks_at_all_rows() -> None:
    pool = clustered(3000)
    pool[:100] = pool[0]
    groups = np.arange(len(pool))
    found, _ = indexed(pool[:1], pool, 3, groups[:1], groups)
    assert found == nearest(pool[:1], pool, 3, groups[:1], groups)
