"""The order in which rows are trained on: drawn from the seed, batches of like length, all epochs laid end to end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POOL = 50
"""Batches that are sorted by length together."""


def order(lengths: Sequence[int], batch: int, epochs: float, seed: int) -> list[int]:
    """Return the places of the rows (N * epochs, rounded) as `batch` after `batch` of them makes a step.

    `lengths` (N,) are the rows' tokens. Each epoch is a permutation; stretches of 50 batches are sorted by length, so
    that a batch is padded little, and their batches shuffled, so that length doesn't follow the learning rate. A
    pure function of its arguments: a run that is resumed meets the very rows that it had not met.
    """
    rng = np.random.default_rng(seed)
    total = max(1, round(len(lengths) * epochs))
    drawn = np.concatenate([rng.permutation(len(lengths)) for _ in range(-(-total // len(lengths)))])[:total]
    ordered: list[int] = []
    for start in range(0, total, POOL * batch):
        pool = drawn[start : start + POOL * batch]
        pool = pool[np.argsort(np.asarray(lengths)[pool], kind="stable")]
        whole = len(pool) // batch * batch
        batches = rng.permutation(pool[:whole].reshape(-1, batch))
        # an incomplete batch must be the last of all, or it would shift those behind it
        ordered += [*batches.ravel().tolist(), *pool[whole:].tolist()]
    return ordered
