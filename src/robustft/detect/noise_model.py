"""The noise model: how a label comes from the true option, symmetric or depending on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Matrix = NDArray[np.float64]


def transition(rate: float, lean: Matrix, k: int) -> Matrix:
    """Return p(label | true option) for rows of k options, (k, k): row = true option, rows sum to 1.

    `rate` in (0, 1): the share of labels that are wrong where `lean` is zero, which is symmetric noise. `lean` (K, K),
    its diagonal unused: what is added to the log odds of each wrong label against the right one.
    """
    logits = np.log(rate / (k - 1) / (1.0 - rate)) + lean[:k, :k]
    np.fill_diagonal(logits, 0.0)
    return np.asarray(softmax(logits, axis=1))


def transition_gradient(counts: Matrix, matrix: Matrix) -> Matrix:
    """Return the gradient (k, k) of sum(counts * log(matrix)) by `lean`; `counts` (k, k) of pairs (true, label)."""
    gradient = counts - counts.sum(axis=1, keepdims=True) * matrix
    np.fill_diagonal(gradient, 0.0)
    return np.asarray(gradient)


def centred(lean: Matrix) -> Matrix:
    """Subtract the mean of what is off the diagonal, which would be a second noise rate; the diagonal becomes 0."""
    off = ~np.eye(len(lean), dtype=bool)
    return np.asarray(np.where(off, lean - lean[off].mean(), 0.0))


def label_likelihood(
    rate: float, lean: Matrix, label: NDArray[np.integer], truth: NDArray[np.integer], counts: NDArray[np.integer]
) -> Matrix:
    """Return p(label | true option k) for each row, (N, K): 1 without a label, 0 where a review says it isn't k.

    `label`, `truth` (N,) are -1 where unknown; `counts` (N,) options of each row, absent options have 0.
    """
    width = len(lean)
    likelihood = (np.arange(width) < counts[:, None]).astype(np.float64)
    for k in np.unique(counts):
        rows = np.flatnonzero((counts == k) & (label >= 0))
        if k > 1:
            likelihood[rows, :k] = transition(rate, lean, int(k)).T[label[rows]]
    known = np.flatnonzero(truth >= 0)
    likelihood[known] *= np.arange(width) == truth[known, None]
    return likelihood
