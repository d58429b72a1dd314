from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustft.fusion.evidence import Evidence
from robustft.fusion.identified import findings
from robustft.fusion.posterior import posterior
from robustft.fusion.probe import (
    cross_fitted,
    folds_of,
    logistic_regression,
    near_duplicates,
    partitions_of,
    with_probe,
    with_view,
)

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def clusters(n: int = 900, d: int = 24, rate: float = 0.3, seed: int = 0) -> tuple[Array, Index, Index]:
    """Return embeddings that tell three classes apart, noisy labels and truths."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    rows = 0.6 * rng.standard_normal((n, d)) + 1.2 * np.eye(3, d)[truth]
    label = np.where(rng.random(n) < rate, (truth + rng.integers(1, 3, size=n)) % 3, truth)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), label, truth


@pytest.mark.parametrize("copies", [50, 2500])
def test_copies_share_a_group_and_so_a_fold(copies: int) -> None:
    rows, _, _ = clusters(n=copies)
    both = np.concatenate([rows, rows, np.zeros((2, rows.shape[1]))])
    group = near_duplicates(both)
    assert (group[:copies] == group[copies : 2 * copies]).all()
    assert group[-1] != group[-2]
    fold = folds_of(group)
    assert (fold[:copies] == fold[copies : 2 * copies]).all()


@given(st.lists(st.integers(0, 12), min_size=5, max_size=80), st.integers(0, 99))
def test_folds_keep_groups_together_and_are_even(group: list[int], seed: int) -> None:
    fold = folds_of(np.array(group), seed=seed)
    for g in set(group):
        assert len(set(fold[np.array(group) == g])) == 1
    sizes, largest = np.bincount(fold, minlength=5), np.bincount(group).max()
    assert sizes.max() - sizes.min() <= largest


@pytest.mark.parametrize(("n", "ways"), [(60, 4), (1_600, 4), (3_200, 2), (6_400, 1)])
def test_rows_are_dealt_in_fewer_ways_where_they_are_many(n: int, ways: int) -> None:
    rows = np.random.default_rng(0).standard_normal((n, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[1] = rows[0]
    partitions = partitions_of(rows)
    assert len({fold.tobytes() for fold in partitions}) == len(partitions) == ways
    assert all(fold[0] == fold[1] for fold in partitions)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.02, 0.98))
def test_features_that_say_nothing_give_the_mean_target(share: float) -> None:
    weights, intercept = logistic_regression(np.zeros((40, 3)), np.tile([share, 1 - share], (40, 1)))
    p = np.exp(intercept) / np.exp(intercept).sum()
    assert weights == pytest.approx(np.zeros((3, 2)))
    assert p[0] == pytest.approx(share, abs=0.01)


def test_a_row_is_judged_without_its_own_target() -> None:
    rows, label, truth = clusters()
    fold = folds_of(np.arange(900))
    targets = np.eye(3)[label]
    logp = cross_fitted(rows, targets, fold)
    assert (logp.argmax(axis=1) == truth).mean() > 0.8
    assert np.exp(logp).sum(axis=1) == pytest.approx(np.ones(900))
    targets[fold == 2] = np.roll(targets[fold == 2], 1, axis=1)
    assert (cross_fitted(rows, targets, fold)[fold == 2] == logp[fold == 2]).all()
    assert (cross_fitted(rows, targets, fold)[fold == 1] != logp[fold == 1]).any()


def test_a_rows_label_does_not_come_back_as_an_echo() -> None:
    # embeddings that tell nothing, but are wide enough to learn rows by heart: what the probe tells of a row can only
    # go with the row's label if it came from it, by way of what other rows' probes learnt
    agreements = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((300, 150))
        truth = rng.integers(3, size=300)
        label = np.where(rng.random(300) < 0.3, (truth + rng.integers(1, 3, size=300)) % 3, truth)
        view = rng.standard_normal((300, 1, 3)) + np.eye(3)[truth][:, None]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        fold = folds_of(np.arange(300), seed=seed)
        seen, _ = with_probe(Evidence(view, label, (0,), True), rows, [fold], noise="symmetric")
        told = seen.logp[:, -1] - seen.logp[:, -1].mean(axis=0)
        agreements.append(told[np.arange(300), label].mean() / told.std() * np.sqrt(300))
    assert np.mean(agreements) < 0.8


def test_the_probe_mends_labels_that_a_weak_view_alone_could_not() -> None:
    rows, label, truth = clusters(n=1200, seed=1)
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((1200, 3))
    logits[np.arange(1200), truth] += 0.5
    weak = Evidence(logits[:, None], label, (0,), shared=True)
    seen, fusion = with_probe(
        weak, rows, [folds_of(near_duplicates(rows), seed=seed) for seed in (0, 1)], noise="symmetric"
    )
    assert seen.families == (0, 1)
    assert fusion.weights[1] > fusion.weights[0]
    found = findings(seen, fusion)
    assert found.noise_rate.low <= (label != truth).mean() <= found.noise_rate.high
    assert (posterior(seen, fusion).argmax(axis=1) == truth).mean() > 0.8


def test_a_view_lacks_the_options_that_its_row_lacks() -> None:
    logp = np.zeros((2, 1, 3))
    logp[1, :, 2] = np.nan
    wider = with_view(Evidence(logp, np.array([0, 1]), (0,), True), np.log(np.full((2, 3), 1 / 3)))
    assert np.isnan(wider.logp[1, :, 2]).all()
    assert wider.counts.tolist() == [3, 2]
