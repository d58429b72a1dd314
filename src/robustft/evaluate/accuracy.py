"""Shares with their intervals, and whether two models asked the same rows differ: pure functions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Flags = NDArray[np.bool_]

_Z = 1.959963985
"""Of 95 % of the normal distribution."""


def share(hits: Flags) -> dict[str, Any]:
    """Return how many of (N,) are true: count, n, value, and the 95 % interval of Wilson (1927)."""
    count, n = int(hits.sum()), len(hits)
    if n == 0:
        return {"count": 0, "n": 0, "value": None, "ci95": None}
    return {"count": count, "n": n, "value": count / n, "ci95": list(_wilson(count / n, n))}


def mean_share(hits: Flags) -> dict[str, Any]:
    """Return the share of (S, N) that is true, S models of one kind asked the same N rows, and its 95 % interval.

    N is at least 1. Models that were trained alike are right on the same rows, so S * N answers say less than as many
    rows would: the interval is Wilson's for the number of independent answers of the same variance (the effective
    sample size of surveys, Kish 1965), which lies between N and S * N. It is about other rows; how much other models of
    the kind would differ isn't in it.
    """
    value, n = float(hits.mean()), _independent(hits)
    return {"value": value, "ci95": list(_wilson(value, n))}


def paired(before: Flags, after: Flags) -> dict[str, Any]:
    """Return by how much more often `after` is true than `before`, row by row.

    Both are (N,), or (S, N) for S models of a kind; N is at least 1. value: the difference of the two shares, in
    [-1, 1]; ci95: its interval by Newcombe (1998, Statistics in Medicine 17:2635, method 10), made of the shares' own
    intervals and their correlation over the rows, so that it isn't empty where no row differs. better, worse: rows
    that `after` answers rightly more often, less often; mcnemar_p: the exact two-sided probability of so uneven a
    split of these rows if each were as likely to go either way (of two single models: McNemar's test).
    """
    one, two = np.atleast_2d(before), np.atleast_2d(after)
    ahead = two.sum(axis=0) * len(one) - one.sum(axis=0) * len(two)
    better, worse = int((ahead > 0).sum()), int((ahead < 0).sum())
    return {
        "value": float(two.mean() - one.mean()),
        "ci95": list(_newcombe(one, two)),
        "better": better,
        "worse": worse,
        "mcnemar_p": float(binomtest(better, better + worse).pvalue) if better + worse else 1.0,
    }


def _independent(hits: Flags) -> float:
    """Return how many independent answers have the variance of the mean of (S, N)."""
    seeds, n = hits.shape
    value, variance = float(hits.mean()), float(hits.mean(axis=0).var())
    whole = value * (1.0 - value)
    if whole == 0.0:
        return float(n)
    return float(min(seeds * n, n * whole / variance)) if variance > 0.0 else float(seeds * n)


def _wilson(p: float, n: float) -> tuple[float, float]:
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    # at 0 and 1 the interval ends there, but for rounding
    return float(max(0.0, min(p, centre - half))), float(min(1.0, max(p, centre + half)))


def _newcombe(before: Flags, after: Flags) -> tuple[float, float]:
    p_1, p_2 = float(before.mean()), float(after.mean())
    (low_1, high_1), (low_2, high_2) = _wilson(p_1, _independent(before)), _wilson(p_2, _independent(after))
    phi = _correlation(before.mean(axis=0), after.mean(axis=0))
    down = _aside(p_2 - low_2, high_1 - p_1, phi)
    up = _aside(high_2 - p_2, p_1 - low_1, phi)
    return max(-1.0, p_2 - p_1 - down), min(1.0, p_2 - p_1 + up)


def _aside(a: float, b: float, phi: float) -> float:
    return float(np.sqrt(max(0.0, a**2 - 2 * phi * a * b + b**2)))


def _correlation(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the correlation of (N,) and (N,), with Newcombe's correction for continuity where it is positive."""
    product = float(before.std() * after.std())
    if product == 0.0:
        return 0.0
    shared = float((before * after).mean() - before.mean() * after.mean())
    return (max(shared - 0.5 / len(before), 0.0) if shared > 0 else shared) / product
