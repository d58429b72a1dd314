from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustft.report.figures import agreement, coded, confusion, effective_voices, krippendorff_alpha, reliability

CODES = arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 20)), elements=st.integers(-1, 3))

# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section C: four observers, twelve units
PUBLISHED = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def test_alpha_is_that_of_the_published_example() -> None:
    voices = [[None if word == "." else word for word in line.split()] for line in PUBLISHED.split("\n") if line]
    alpha = krippendorff_alpha(coded(voices)[0])
    assert alpha == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_two_observers_by_hand() -> None:
    # 10 units, 6 alike: observed disagreement .4; 14 of 20 values are 0: expected 2 * 14 * 6 / (20 * 19)
    codes = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]])
    assert krippendorff_alpha(codes) == pytest.approx(1 - 0.4 / (2 * 14 * 6 / (20 * 19)))


@given(CODES)
def test_alpha_is_at_most_one_and_one_where_all_agree(codes: np.ndarray) -> None:
    alpha = krippendorff_alpha(codes)
    assert alpha is None or alpha <= 1.0
    same = np.tile(np.where(codes[:1] < 0, 0, codes[:1]), (3, 1))
    assert krippendorff_alpha(same) in (None, 1.0)


@given(CODES)
def test_agreement_is_symmetric_and_one_with_oneself(codes: np.ndarray) -> None:
    shares, counts = agreement(codes)
    assert np.array_equal(shares, shares.T, equal_nan=True)
    spoke = counts.diagonal() > 0
    assert (shares.diagonal()[spoke] == 1.0).all()
    assert np.isnan(shares[counts == 0]).all()


def test_voices_that_make_the_same_mistakes_are_one() -> None:
    wrong = np.random.default_rng(0).random(4000) < 0.3
    same = np.tile(wrong.astype(float), (3, 1))
    assert effective_voices(same) == pytest.approx(1.0)
    apart = (np.random.default_rng(1).random((3, 4000)) < 0.3).astype(float)
    found = effective_voices(apart)
    assert found is not None
    assert 2.7 < found <= 3.0
    assert effective_voices(np.zeros((2, 5))) is None


@given(st.lists(st.tuples(*[st.sampled_from(["a", "b", None])] * 2)))
def test_confusion_counts_every_pair_once(pairs: list[tuple[str | None, str | None]]) -> None:
    counts = confusion([one for one, _ in pairs], [other for _, other in pairs])
    assert sum(counts.values()) == sum(None not in pair for pair in pairs)
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1),
)
def test_reliability_bins_hold_every_row(rows: list[tuple[float, bool]]) -> None:
    bins = reliability(np.array([c for c, _ in rows]), np.array([r for _, r in rows]))
    assert sum(count for *_, count in bins) == len(rows)
    assert sum(right * count for _, right, count in bins) == pytest.approx(sum(r for _, r in rows))
