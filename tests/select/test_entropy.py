from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robustft.select.entropy import below_median, lowest_share

REAL = st.floats(0, 50)
NLL = st.lists(st.one_of(REAL, st.just(float("nan"))), max_size=40).map(lambda xs: np.array(xs, dtype=float))


@given(NLL)
def test_below_median_takes_at_most_half_and_only_lower_ones(nll: np.ndarray) -> None:
    chosen = below_median(nll)
    known = ~np.isnan(nll)
    assert not chosen[~known].any()
    assert 2 * chosen.sum() <= known.sum()
    if chosen.any():
        assert nll[chosen].max() < nll[known & ~chosen].min()


@given(NLL, st.floats(0, 1))
def test_lowest_share_takes_its_share_of_the_known(nll: np.ndarray, share: float) -> None:
    chosen = lowest_share(nll, share)
    known = ~np.isnan(nll)
    assert chosen.sum() == int(share * known.sum())
    assert not chosen[~known].any()
    if chosen.any() and (known & ~chosen).any():
        assert nll[chosen].max() <= nll[known & ~chosen].min()


def test_ties_at_the_median_are_left_out() -> None:
    assert below_median(np.array([1.0, 1.0, 1.0])).tolist() == [False, False, False]
    assert below_median(np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [True, True, False, False]


def test_of_equals_the_first_are_taken() -> None:
    nll = np.tile([1.0, 0.0, 2.0], 200)
    assert np.flatnonzero(lowest_share(nll, 0.1)).tolist() == list(range(1, 180, 3))
    assert np.flatnonzero(lowest_share(nll, 0.5)).tolist() == sorted([*range(1, 600, 3), *range(0, 300, 3)])
