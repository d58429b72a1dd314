from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.simulated import simulate
from robustft.fusion.evidence import Evidence
from robustft.fusion.posterior import Fusion, fit, posterior
from robustft.fusion.target import (
    REACHED_WITHIN,
    Choice,
    choose,
    effective_rows,
    expected_accuracy,
    keep_labels,
    suspects,
)


@given(st.lists(st.floats(0.34, 1.0), min_size=1, max_size=40), st.floats(0.5, 1.0))
def test_takes_as_many_as_keep_the_mean_confidence_at_the_target(sure: list[float], target: float) -> None:
    first = np.array(sure)
    p = np.stack([first, (1 - first) * 0.5, (1 - first) * 0.5], axis=1)
    choice = choose(p, np.zeros(len(sure), dtype=int), target)
    taken = np.sort(choice.confidence[choice.taken])
    assert not len(taken) or taken.mean() >= target - 1e-9
    left = np.sort(choice.confidence[~choice.taken])
    if len(left):
        assert not len(taken) or left[-1] <= taken[0]
        assert np.append(taken, left[-1]).mean() < target + 1e-9


def test_a_label_that_is_as_likely_as_any_stays() -> None:
    choice = choose(np.array([[0.4, 0.4, 0.2], [0.4, 0.5, 0.1], [0.1, 0.2, 0.7]]), np.array([1, 0, -1]), 0.6)
    assert choice.answer.tolist() == [1, 1, 2]
    assert choice.taken.tolist() == [False, True, True]
    assert choice.confidence[choice.taken].mean() == pytest.approx(0.6)


@pytest.mark.parametrize("target", [0.95, None])
@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_is_taken_where_nothing_is_sure(rows: int, target: float | None) -> None:
    choice = choose(np.full((rows, 2), 0.5), np.array([0, 1, -1])[:rows], target)
    assert not choice.taken.any()


def two_options(confidence: list[float]) -> np.ndarray:
    sure = np.array(confidence)
    return np.stack([sure, 1 - sure], axis=1)


def test_an_open_target_is_held_where_further_rows_would_teach_less() -> None:
    p = two_options([0.99] * 60 + [0.55] * 40)
    open_target, held = (choose(p, np.zeros(100, dtype=int), target) for target in (None, 0.95))
    assert open_target.target == held.target == 0.95
    assert open_target.taken.tolist() == held.taken.tolist()


def test_an_open_target_is_lowered_where_more_rows_teach_more() -> None:
    p, label = two_options([0.96] * 10 + [0.8] * 90 + [0.51] * 20), np.zeros(120, dtype=int)
    assert choose(p, label, 0.95).taken.sum() == 10
    lowered = choose(p, label)
    assert lowered.taken.tolist() == [True] * 100 + [False] * 20
    assert lowered.target == pytest.approx((10 * 0.96 + 90 * 0.8) / 100)


@given(st.lists(st.floats(0.5, 1.0), min_size=1, max_size=40))
def test_an_open_target_takes_no_fewer_than_teach_most_nor_than_the_default(sure: list[float]) -> None:
    p, label = two_options(sorted(sure, reverse=True)), np.zeros(len(sure), dtype=int)
    open_target = choose(p, label)
    taken = int(open_target.taken.sum())
    worth = effective_rows(p)
    assert taken == max(int(choose(p, label, 0.95).taken.sum()), 1 + int(worth.argmax()) if worth.any() else 0)
    assert not taken or open_target.confidence[open_target.taken].mean() >= open_target.target - 1e-9


def test_rows_that_are_wrong_in_a_quarter_count_a_quarter() -> None:
    assert effective_rows(two_options([1.0, 1.0])).tolist() == [1.0, 2.0]
    assert effective_rows(two_options([0.75] * 4))[-1] == pytest.approx(1.0)
    assert effective_rows(np.ones((3, 1))).tolist() == [1.0, 2.0, 3.0]


def test_labels_that_are_kept_are_all_taken() -> None:
    choice = keep_labels(np.array([2, -1]), np.array([[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]]))
    assert choice.answer.tolist() == [2, 2]
    assert choice.taken.tolist() == [True, False]


def test_suspects_maximise_the_expected_f1() -> None:
    wrong = np.array([0.9, 0.6, 0.45, 0.2, 0.05])
    p = np.stack([1 - wrong, wrong], axis=1)
    flags = suspects(p, np.zeros(5, dtype=int))
    assert flags.tolist() == [True, True, True, False, False]
    assert suspects(p, np.array([0, -1, -1, -1, -1])).tolist() == [True, False, False, False, False]
    assert not suspects(p, np.full(5, -1)).any()


def fitted(rate: float = 0.3, n: int = 400) -> tuple[Evidence, Fusion, Choice]:
    logp, label, _ = simulate(n=n, k=4, rate=rate, views=2)
    evidence = Evidence(logp, label, (0, 0), shared=False)
    fusion = fit(evidence, noise="symmetric")
    return evidence, fusion, choose(posterior(evidence, fusion), label, 0.9)


def test_the_expected_accuracy_of_what_is_taken_is_its_mean_confidence_within_its_interval() -> None:
    evidence, fusion, choice = fitted()
    rows = np.flatnonzero(choice.taken)
    part = (evidence.rows(rows), fusion, choice.answer[rows])
    found = expected_accuracy([part], 0.9, known=True)
    assert (found["wanted"], found["rows"]) == (0.9, len(rows))
    mean = choice.confidence[rows].mean()
    assert found["low"] < mean < found["high"]
    assert found["expected"] == pytest.approx(mean, abs=0.02)
    # levels add up
    half = len(rows) // 2
    parts = [(part[0].rows(slice(*ends)), fusion, part[2][slice(*ends)]) for ends in ((0, half), (half, len(rows)))]
    assert expected_accuracy(parts, 0.9, known=True)["expected"] == pytest.approx(found["expected"], abs=0.02)


def test_a_target_is_reached_where_the_interval_says_so_and_the_noise_rate_is_known() -> None:
    evidence, fusion, choice = fitted()
    rows = np.flatnonzero(choice.taken)
    part = (evidence.rows(rows), fusion, choice.answer[rows])
    low = expected_accuracy([part], 0.9, known=True)["low"]
    assert expected_accuracy([part], low + REACHED_WITHIN - 0.001, known=True)["reached"]
    assert not expected_accuracy([part], low + REACHED_WITHIN + 0.001, known=True)["reached"]
    unknown = expected_accuracy([part], low, known=False)
    assert not unknown["reached"]
    assert unknown["expected"] is not None


def test_of_nothing_taken_nothing_is_expected() -> None:
    found = expected_accuracy([], 0.9, known=True)
    assert found == {"wanted": 0.9, "rows": 0, "expected": None, "low": None, "high": None, "reached": False}
