"""The noise model: how a label comes from the true option, symmetric or depending on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True)
class Labels:
    """The given labels and reviewed truths of N rows, -1 where unknown, of rows with `counts` (N,) options each."""

    label: NDArray[np.integer]
    truth: NDArray[np.integer]
    counts: NDArray[np.integer]
    width: int

    @cached_property
    def given(self) -> list[tuple[int, NDArray[np.int64]]]:
        """For each number of options k that occurs: k, and the labelled rows that have so many."""
        kinds = [int(k) for k in np.unique(self.counts) if k > 1]
        return [(k, np.flatnonzero((self.counts == k) & (self.label >= 0))) for k in kinds]

    @cached_property
    def possible(self) -> Matrix:
        """(N, K): 1 where an option can be the true one, 0 where it is absent or a review says it isn't."""
        options = np.arange(self.width)
        present = (options < self.counts[:, None]).astype(np.float64)
        return np.where(self.truth[:, None] >= 0, options == self.truth[:, None], present).astype(np.float64)

    def likelihood(self, rate: float, lean: Matrix) -> Matrix:
        """Return p(label | true option k) for each row, (N, K): 1 without a label, 0 where k isn't possible."""
        likelihood = self.possible.copy()
        for k, rows in self.given:
            likelihood[rows, :k] *= transition(rate, lean, k).T[self.label[rows]]
        return likelihood
