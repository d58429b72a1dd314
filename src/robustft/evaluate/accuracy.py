"""Shares with their intervals, and whether two models asked the same rows differ: pure functions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Flags = NDArray[np.bool_]

_Z = 1.959963985
"""Of 95 % of the normal distribution."""
_DRAWS, _BLOCK = 5000, 100
"""Bootstrap draws, and how many are made at a time."""


def share(hits: Flags) -> dict[str, Any]:
    """Return how many of (N,) are true: count, n, value, and the 95 % interval of Wilson (1927)."""
    count, n = int(hits.sum()), len(hits)
    if n == 0:
        return {"count": 0, "n": 0, "value": None, "ci95": None}
    low, high = _wilson(count, n)
    return {"count": count, "n": n, "value": count / n, "ci95": [low, high]}


def paired(before: Flags, after: Flags) -> dict[str, Any]:
    """Return by how much more often `after` (N,) is true than `before` (N,), row by row; N is at least 1.

    value: the difference of the two shares, in [-1, 1]; ci95: its interval by Newcombe (1998, Statistics in Medicine
    17:2635, method 10), made of the shares' own Wilson intervals and their correlation, so that it isn't empty where
    no row differs; only_before, only_after: rows in which just one is true; mcnemar_p: the exact two-sided
    probability of so uneven a split of these rows if each were as likely to go either way.
    """
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    differing = lost + gained
    low, high = _newcombe(before, after)
    return {
        "value": (gained - lost) / len(before),
        "ci95": [low, high],
        "only_before": lost,
        "only_after": gained,
        "mcnemar_p": float(binomtest(gained, differing).pvalue) if differing else 1.0,
    }


def mean_interval(values: NDArray[np.float64], seed: int = 0) -> dict[str, Any]:
    """Return the mean of (N,) and its 95 % interval, by a percentile bootstrap of the N rows; N is at least 1.

    For what is no plain share: a row's mean over several seeds, and the difference of two such means. What the seeds
    contribute to the spread isn't in it.
    """
    n, rng = len(values), np.random.default_rng(seed)
    means = np.concatenate([values[rng.integers(n, size=(_BLOCK, n))].mean(axis=1) for _ in range(_DRAWS // _BLOCK)])
    return {"value": float(values.mean()), "ci95": np.percentile(means, [2.5, 97.5]).tolist()}


def _wilson(count: int, n: int) -> tuple[float, float]:
    p = count / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    # at 0 and 1 the interval ends there, but for rounding
    return float(max(0.0, min(p, centre - half))), float(min(1.0, max(p, centre + half)))


def _newcombe(before: Flags, after: Flags) -> tuple[float, float]:
    n = len(before)
    one, two = int(before.sum()), int(after.sum())
    (low_1, high_1), (low_2, high_2) = _wilson(one, n), _wilson(two, n)
    p_1, p_2 = one / n, two / n
    phi = _correlation(before, after)
    down = _aside(p_2 - low_2, high_1 - p_1, phi)
    up = _aside(high_2 - p_2, p_1 - low_1, phi)
    return max(-1.0, p_2 - p_1 - down), min(1.0, p_2 - p_1 + up)


def _aside(a: float, b: float, phi: float) -> float:
    return float(np.sqrt(max(0.0, a**2 - 2 * phi * a * b + b**2)))


def _correlation(before: Flags, after: Flags) -> float:
    """Return phi of the 2 x 2 table, with Newcombe's correction for continuity where it is positive."""
    n = len(before)
    both, neither = int((before & after).sum()), int((~before & ~after).sum())
    margins = [float(flags.sum()) * (n - float(flags.sum())) for flags in (before, after)]
    product = float(np.sqrt(margins[0] * margins[1]))
    if product == 0.0:
        return 0.0
    excess = both * neither - int((before & ~after).sum()) * int((after & ~before).sum())
    return (max(excess - n / 2, 0.0) if excess > 0 else excess) / product
