from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from robustft.evaluate.accuracy import Flags, mean_share, paired, share

SEEDS = st.integers(0, 2**32 - 1)


def flags(seed: int, *shape: int, rate: float = 0.6) -> Flags:
    return np.random.default_rng(seed).random(shape) < rate


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_has_wilsons_interval(counts: tuple[int, int]) -> None:
    count, n = counts
    found = share(np.arange(n) < count)
    assert (found["count"], found["n"], found["value"]) == (count, n, count / n)
    wanted = binomtest(count, n).proportion_ci(method="wilson")
    assert found["ci95"] == pytest.approx([wanted.low, wanted.high], abs=1e-9)


def test_nothing_asked_is_no_share() -> None:
    assert share(np.zeros(0, dtype=bool)) == {"count": 0, "n": 0, "value": None, "ci95": None}


@given(SEEDS, st.integers(1, 60))
def test_one_model_is_a_share(seed: int, n: int) -> None:
    hits = flags(seed, 1, n)
    assert mean_share(hits)["ci95"] == pytest.approx(share(hits[0])["ci95"])


@given(SEEDS, st.integers(2, 60), st.integers(2, 5))
def test_models_that_are_right_on_the_same_rows_are_no_more_than_one(seed: int, n: int, models: int) -> None:
    one = flags(seed, 1, n)
    assert mean_share(np.repeat(one, models, axis=0))["ci95"] == pytest.approx(mean_share(one)["ci95"])


@given(SEEDS, st.integers(2, 60), st.integers(1, 5))
def test_an_interval_holds_its_value_and_lies_between_those_of_one_model_and_of_as_many_rows(
    seed: int, n: int, models: int
) -> None:
    hits = flags(seed, models, n)
    low, high = mean_share(hits)["ci95"]
    assert 0.0 <= low <= hits.mean() <= high <= 1.0
    widest, narrowest = share(np.ones(n, dtype=bool))["ci95"], share(hits.ravel())["ci95"]
    assert high - low >= narrowest[1] - narrowest[0] - 1e-9
    assert high - low <= 1.0
    assert widest[0] > 0.0


def test_intervals_of_independent_models_are_those_of_as_many_rows() -> None:
    hits = flags(0, 3, 4000)
    assert np.diff(mean_share(hits)["ci95"]) == pytest.approx(np.diff(share(hits.ravel())["ci95"]), rel=0.05)


@given(SEEDS, st.integers(1, 60), st.integers(1, 4))
def test_a_difference_turns_round_with_its_models(seed: int, n: int, models: int) -> None:
    before, after = flags(seed, models, n), flags(seed + 1, models, n, rate=0.8)
    one, two = paired(before, after), paired(after, before)
    assert one["value"] == pytest.approx(-two["value"])
    assert one["ci95"] == pytest.approx([-two["ci95"][1], -two["ci95"][0]])
    assert (one["better"], one["worse"]) == (two["worse"], two["better"])
    assert one["mcnemar_p"] == pytest.approx(two["mcnemar_p"])
    assert one["ci95"][0] - 1e-12 <= one["value"] <= one["ci95"][1] + 1e-12


def test_newcombes_example() -> None:
    # Newcombe (1998), table II: 36 both, 12 and 2 differ, 0 neither: method 10 gives 0.0569 to 0.3404
    before = np.array([1] * 36 + [1] * 12 + [0] * 2, dtype=bool)
    after = np.array([1] * 36 + [0] * 12 + [1] * 2, dtype=bool)
    assert paired(after, before)["ci95"] == pytest.approx([0.0569, 0.3404], abs=1e-4)


def test_mcnemar_is_exact() -> None:
    before, after = np.zeros(10, dtype=bool), np.arange(10) < 6
    found = paired(before, after)
    assert (found["better"], found["worse"]) == (6, 0)
    assert found["mcnemar_p"] == pytest.approx(2 * 0.5**6)
    assert paired(before, before)["mcnemar_p"] == 1.0


def test_no_difference_has_an_interval_about_nothing() -> None:
    low, high = paired(flags(0, 50), flags(0, 50))["ci95"]
    assert low < 0.0 < high


def test_intervals_of_differences_hold_the_truth_as_often_as_they_say() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        ease = rng.random(80)
        before, after = (rng.random((2, 80)) < np.clip(ease + shift, 0, 1) for shift in (0.0, 0.1))
        low, high = paired(before, after)["ci95"]
        inside += low <= 0.095 <= high  # E min(1, ease + 0.1) - E ease
    assert inside / 400 > 0.92
