"""Rows whose truth is known: views that share half of their mistakes, labels that are wrong at a rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustft.fusion.views import Views
from robustft.tasks.options import letters

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def simulate(
    n: int = 1500, k: int = 4, rate: float = 0.3, views: int = 1, ease: float = 2.0, spread: float = 1.5, seed: int = 0
) -> tuple[Array, Index, Index]:
    """Return log p (N, V, K), labels and truths; views share half of their mistakes, rows differ in difficulty."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    label = np.where(rng.random(n) < rate, (truth + rng.integers(1, k, size=n)) % k, truth)
    ease_of_row = ease + spread * rng.standard_normal(n)
    logits = np.sqrt(0.5) * (rng.standard_normal((n, 1, k)) + rng.standard_normal((n, views, k)))
    logits[np.arange(n), :, truth] += ease_of_row[:, None]
    logits *= 2.0
    return logits - np.log(np.exp(logits).sum(axis=2, keepdims=True)), label, truth


def views_from(logp: Array, label: Index, *names: str, reviewed: Index | None = None) -> Views:
    """Return the simulated views as those of a run, all of them asked about every row."""
    n, v, k = logp.shape
    unseen = np.full(n, -1) if reviewed is None else reviewed
    return Views(names, (letters(k),) * n, logp, np.ones((n, v), dtype=np.int64), label, unseen, shared=False)
