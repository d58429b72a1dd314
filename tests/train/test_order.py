from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from robustft.train.order import POOL, order

LENGTHS = st.lists(st.integers(1, 900), min_size=1, max_size=300)


@given(lengths=LENGTHS, batch=st.integers(1, 9), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_row_is_seen_once_an_epoch(lengths: list[int], batch: int, epochs: int, seed: int) -> None:
    places = order(lengths, batch, epochs, seed)
    assert Counter(places) == dict.fromkeys(range(len(lengths)), epochs)
    assert places == order(lengths, batch, epochs, seed)


@given(lengths=LENGTHS, batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_batch_holds_neighbours_in_length(lengths: list[int], batch: int, seed: int) -> None:
    places = order(lengths, batch, 1, seed)
    for start in range(0, len(places), POOL * batch):
        pool = [lengths[place] for place in places[start : start + POOL * batch]]
        whole = len(pool) // batch * batch
        spans = sorted((min(pool[i : i + batch]), max(pool[i : i + batch])) for i in range(0, whole, batch))
        assert all(high <= low for (_, high), (low, _) in pairwise(spans))


def test_half_an_epoch_and_another_seed() -> None:
    lengths = list(range(1, 101))
    half = order(lengths, 4, 0.5, 0)
    assert len(half) == len(set(half)) == 50
    assert order(lengths, 4, 1, 0) != order(lengths, 4, 1, 1)
    # batches aren't in the order of their lengths
    assert order(lengths, 4, 1, 0) != sorted(order(lengths, 4, 1, 0))
