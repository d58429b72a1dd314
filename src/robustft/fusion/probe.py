"""The probe: a classifier on the rows' embeddings, fitted on what is believed of other rows; one more view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from robustft.fusion.evidence import Evidence
from robustft.fusion.fitting import Priors
from robustft.fusion.posterior import STRONG, Fusion, Noise, fit, posterior

NEAR = 0.95
"""Cosine from which on two rows are near-duplicates."""
FOLDS = 5
PARTITIONS = 4
"""Ways in which the rows are dealt to folds, at most."""
ENOUGH_ROWS = 6_400
"""Rows, counted once for each way of dealing them, from which on no further way is tried."""
ROUNDS = 3
RIDGE = 1.0
"""Penalty on the squared coefficients, for rows of length 1 (scikit-learn's 1 / C)."""
FIT_ROWS = 20_000
"""Rows that one fold's classifier is fitted on, at most."""

Coefficients = tuple[NDArray[np.float64], NDArray[np.float64]]

_CELL = 2_000
_TOLERANCE = 1e-6
_FOLDS = 0xF01D
_CENTRES = 0xCE27
_SOME = 0x50E


def near_duplicates(embeddings: NDArray[np.floating], near: float = NEAR, seed: int = 0) -> NDArray[np.int64]:
    """Return a group for each row (N,): rows with a cosine of `near` or more share one, and so do their neighbours'.

    `embeddings` (N, d): unit rows; a zero row is a group of its own. Beyond 2,000 rows only those are compared that
    lie nearest to the same of N / 500 rows drawn at random, which finds most near-duplicates and all exact ones.
    """
    n = len(embeddings)
    group = np.arange(n)
    for cell in _cells(embeddings, seed):
        rows = embeddings[cell]
        left, right = np.nonzero(np.triu(rows @ rows.T >= near, 1))
        for a, b in zip(cell[left].tolist(), cell[right].tolist(), strict=True):
            _join(group, a, b)
    return np.array([_root(group, i) for i in range(n)])


def _cells(embeddings: NDArray[np.floating], seed: int) -> list[NDArray[np.int64]]:
    n = len(embeddings)
    if n <= _CELL:
        return [np.arange(n)]
    centres = embeddings[np.random.default_rng((seed, _CENTRES)).choice(n, n // 500, replace=False)]
    nearest = np.concatenate([(block @ centres.T).argmax(axis=1) for block in np.array_split(embeddings, n // 500)])
    order = np.argsort(nearest, kind="stable")
    cells = np.split(order, np.flatnonzero(np.diff(nearest[order])) + 1)
    # a crowded cell is cut up, so that memory doesn't grow with its square
    return [part for cell in cells for part in np.array_split(cell, -(-len(cell) // (2 * _CELL)))]


def _root(group: NDArray[np.int64], i: int) -> int:
    while group[i] != i:
        group[i] = group[group[i]]
        i = int(group[i])
    return i


def _join(group: NDArray[np.int64], a: int, b: int) -> None:
    a, b = _root(group, a), _root(group, b)
    group[max(a, b)] = min(a, b)


def folds_of(group: NDArray[np.integer], folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Deal groups to folds at random, the largest first, each to the smallest fold; returns (N,) in 0..folds-1."""
    _, member, sizes = np.unique(group, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng((seed, _FOLDS)).permutation(len(sizes))
    fold, filled = np.zeros(len(sizes), dtype=np.int64), np.zeros(folds, dtype=np.int64)
    for g in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold[g] = filled.argmin()
        filled[fold[g]] += sizes[g]
    return np.asarray(fold[member])


def partitions_of(embeddings: NDArray[np.floating], seed: int = 0) -> list[NDArray[np.int64]]:
    """Deal the rows to folds in up to 4 ways, near-duplicates always together; `embeddings` (N, d) are unit rows.

    In a larger set less hangs on who is in whose fold: from 6,400 rows on there is one way.
    """
    groups = near_duplicates(embeddings, seed=seed)
    ways = min(-(-ENOUGH_ROWS // len(embeddings)), PARTITIONS)
    return [folds_of(groups, seed=PARTITIONS * seed + number) for number in range(ways)]


def cross_fitted(
    embeddings: NDArray[np.floating],
    targets: NDArray[np.float64],
    fold: NDArray[np.integer],
    ridge: float = RIDGE,
    seed: int = 0,
    start: Coefficients | None = None,
) -> NDArray[np.float64]:
    """Return log p of each option (N, K), each row's from a multinomial logistic regression on the other folds.

    `embeddings` (N, d); `targets` (N, K): soft labels, rows sum to 1, or to 0 for rows to leave out; `fold` (N,).
    `start`: where the searches begin.
    """
    result = np.zeros(targets.shape)
    for held in np.unique(fold):
        learn, out = fold != held, fold == held
        coefficients = logistic_regression(*_some(embeddings[learn], targets[learn], seed), ridge, start)
        result[out] = predicted(embeddings[out], *coefficients)
    return result


def predicted(
    features: NDArray[np.floating], weights: NDArray[np.float64], intercept: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return log p of each option (N, K) under a fitted regression."""
    return np.asarray(log_softmax(features @ weights + intercept, axis=1))


def _some(
    features: NDArray[np.floating], targets: NDArray[np.float64], seed: int = 0
) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    rows = np.flatnonzero(targets.sum(axis=1) > 0)
    if len(rows) > FIT_ROWS:
        rows = np.random.default_rng((seed, _SOME)).choice(rows, FIT_ROWS, replace=False)
    return features[rows], targets[rows]


def logistic_regression(
    features: NDArray[np.floating],
    targets: NDArray[np.float64],
    ridge: float = RIDGE,
    start: Coefficients | None = None,
) -> Coefficients:
    """Fit a multinomial logistic regression on soft labels; returns its coefficients (d, K) and intercepts (K,).

    `start`: where the search begins, such as the coefficients for nearly the same rows.
    """
    d, k = features.shape[1], targets.shape[1]
    # the products are most of the work, and need no more digits than the embeddings have
    features = features.astype(np.float32)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, intercept = flat[: d * k].reshape(d, k), flat[d * k :]
        logp = log_softmax((features @ weights.astype(np.float32)).astype(np.float64) + intercept, axis=1)
        slope = np.exp(logp) * targets.sum(axis=1, keepdims=True) - targets
        value = -float(np.vdot(targets, logp)) + 0.5 * ridge * float(np.vdot(weights, weights))
        gradient = features.T @ slope.astype(np.float32)
        return value, np.concatenate([(gradient + ridge * weights).ravel(), slope.sum(axis=0)])

    first = np.zeros(d * k + k) if start is None else np.concatenate([start[0].ravel(), start[1]])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": _TOLERANCE})
    return found.x[: d * k].reshape(d, k), found.x[d * k :]


def with_probe(
    evidence: Evidence,
    embeddings: NDArray[np.floating],
    partitions: Sequence[NDArray[np.integer]],
    priors: Priors | None = None,
    noise: Noise = "auto",
    rounds: int = ROUNDS,
) -> tuple[Evidence, Fusion]:
    """Let the probe learn from the posterior: `rounds` times fit it on the other folds' posterior, and fuse again.

    Weights and noise rate are fitted anew in each round: that is what keeps the probe from drifting into its own
    mistakes. What a row's probe learns from never saw a label of the row's fold, not even through another row's probe:
    for each fold the posteriors of the others come from probes cross-fitted among them alone. (Without this a row's
    own label comes back as an echo, which passes for evidence that labels are right.)

    It starts twice, from the views' posterior and from the labels as they are given: a weak view is a bad teacher, and
    so are labels most of which are wrong. Of each start the round that explains the labels best counts, and of the two
    the first, unless the labels speak strongly for the second. Where somebody states the views' accuracy they alone
    teach: the labels may be so bad that what explains them best is chance.

    `partitions`: each deals the rows to folds, (N,); the probe is the mean of what comes of each, so that less hangs on
    who happened to be in whose fold.

    Returns the evidence with the probe as its last view, a family of its own, and the last fusion. Only for options
    that mean the same in every row.
    """
    starts = [posterior(evidence, fit(evidence, priors, noise))]
    if priors is None or priors.accuracy is None:
        starts.append((evidence.label[:, None] == np.arange(evidence.logp.shape[2])).astype(np.float64))
    found: list[tuple[Evidence, Fusion]] = []
    for fold in partitions:
        ends = [
            max(_taught(evidence, start, embeddings, fold, priors, noise, rounds), key=lambda end: end[1].log_evidence)
            for start in starts
        ]
        best = len(ends) - 1 if ends[-1][1].log_evidence > ends[0][1].log_evidence + STRONG else 0
        found.append(ends[best])
        # who teaches is found once, not for every partition
        starts = [starts[best]]
    if len(found) == 1:
        return found[0]
    seen = with_view(evidence, np.mean([end.logp[:, -1] for end, _ in found], axis=0))
    return seen, fit(seen, priors, noise)


def _taught(
    evidence: Evidence,
    start: NDArray[np.float64],
    embeddings: NDArray[np.floating],
    fold: NDArray[np.integer],
    priors: Priors | None,
    noise: Noise,
    rounds: int,
) -> Iterator[tuple[Evidence, Fusion]]:
    """Teach the probe from `start` (N, K), then from the posteriors; yields each round as `with_probe` returns it."""
    held_out = [np.flatnonzero(fold == held) for held in np.unique(fold)]
    inside = [np.flatnonzero(fold != held) for held in np.unique(fold)]
    targets = [start[rows] for rows in inside]
    learnt: list[Coefficients | None] = [None] * len(inside)
    for remaining in range(rounds, 0, -1):
        logp = np.zeros(start.shape)
        for f, (rows, out, target) in enumerate(zip(inside, held_out, targets, strict=True)):
            # each search begins where the last round's, and below the outer fold's, ended: they differ by little
            learnt[f] = coefficients = logistic_regression(*_some(embeddings[rows], target), start=learnt[f])
            logp[out] = predicted(embeddings[out], *coefficients)
        seen = with_view(evidence, logp)
        fusion = fit(seen, priors, noise)
        # whether the noise depends on the class is found once, not in every round
        noise = "conditional" if fusion.layout.leans else "symmetric"
        yield seen, fusion
        if remaining > 1:
            targets = [
                posterior(
                    with_view(evidence.rows(rows), cross_fitted(embeddings[rows], target, fold[rows], start=begin)),
                    fusion,
                )
                for rows, target, begin in zip(inside, targets, learnt, strict=True)
            ]


def with_view(evidence: Evidence, logp: NDArray[np.float64]) -> Evidence:
    """Add a view (N, K), a family of its own; NaN where a row lacks an option is set here."""
    masked = np.where(np.isnan(evidence.logp[:, :1]), np.nan, logp[:, None])
    return replace(
        evidence,
        logp=np.concatenate([evidence.logp, masked], axis=1),
        families=(*evidence.families, max(evidence.families) + 1),
    )
