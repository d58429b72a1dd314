from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robustft.relabel.nearest import SAME, nearest


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@given(st.integers(0, 12), st.integers(0, 30), st.integers(0, 5), st.integers(1, 90), st.integers(0, 1000))
def test_blocks_give_what_one_sort_gives(n: int, m: int, k: int, numbers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries = unit(rng.standard_normal((n, 6))) if n else np.zeros((0, 6), np.float32)
    pool = unit(rng.standard_normal((m, 6))) if m else np.zeros((0, 6), np.float32)
    groups, pool_groups = np.arange(n), np.arange(m) + n // 2
    found = nearest(queries, pool, k, groups, pool_groups, numbers)
    for query, group, ids in zip(queries, groups, found, strict=True):
        cosine = pool @ query if m else np.zeros(0)
        allowed = [j for j in range(m) if pool_groups[j] != group and cosine[j] < SAME]
        assert sorted(cosine[ids].tolist(), reverse=True) == sorted(cosine[allowed].tolist(), reverse=True)[:k]


def test_the_row_itself_and_its_near_duplicates_are_passed_over() -> None:
    pool = unit(np.array([[1.0, 0.0], [1.0, 0.01], [1.0, 1.0], [0.0, 1.0]]))
    assert nearest(pool[:1], pool, 3, np.array([0]), np.array([0, 1, 2, 3])) == [[2, 3]]
    # the same text under another id is the same group, whatever its vector
    assert nearest(pool[:1], pool, 3, np.array([0]), np.array([0, 1, 0, 3])) == [[3]]


def test_ties_go_to_the_lower_index() -> None:
    pool = unit(np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]))
    query = np.array([[1.0, 0.0]], np.float32)
    assert nearest(query, pool, 2, np.array([-1]), np.arange(5)) == [[0, 2]]
    assert nearest(query, pool, 4, np.array([-1]), np.arange(5)) == [[0, 2, 3, 4]]
