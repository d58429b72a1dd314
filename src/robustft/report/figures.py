"""Figures about who said what: pure functions of codes, where experts and the given label are rows of an array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
"""(V, N): what each of V voices says of N rows, as the number of a category; -1 where it says nothing."""
SILENT = -1


def coded(voices: Sequence[Sequence[str | None]]) -> tuple[Codes, list[str]]:
    """Return the voices' values as codes, and the categories in the order of their first mention."""
    places: dict[str, int] = {}
    codes = [[SILENT if v is None else places.setdefault(v, len(places)) for v in voice] for voice in voices]
    return np.array(codes, dtype=np.int64).reshape(len(voices), -1), list(places)


def agreement(codes: Codes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return how often each two voices agree, (V, V) in [0, 1], and the rows on which both spoke, (V, V).

    NaN where there is no such row.
    """
    spoke = codes != SILENT
    both = spoke[:, None] & spoke[None]
    same = both & (codes[:, None] == codes[None])
    counts = both.sum(axis=2)
    with np.errstate(invalid="ignore"):
        return same.sum(axis=2) / counts, counts


def krippendorff_alpha(codes: Codes) -> float | None:
    """Return Krippendorff's alpha for nominal data: 1 all agree, 0 as by chance; None where nothing can be paired.

    Rows on which fewer than two spoke don't count (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability).
    """
    codes = codes[:, (codes != SILENT).sum(axis=0) >= 2]
    spoken = (codes != SILENT).sum(axis=0)
    pairable = int(spoken.sum())
    if pairable == 0:
        return None
    differ = np.zeros(codes.shape[1])
    for one in codes:
        differ += ((codes != one) & (codes != SILENT) & (one != SILENT)).sum(axis=0)
    # each row's ordered pairs of voices that differ, a row counted as many times as it has voices
    observed = (differ / (spoken - 1)).sum() / pairable
    totals = np.bincount(codes[codes != SILENT])
    expected = (pairable**2 - (totals**2).sum()) / (pairable * (pairable - 1))
    return None if expected == 0 else float(1 - observed / expected)


def effective_voices(wrong: NDArray[np.float64]) -> float | None:
    """Return how many independent voices V voices are worth, in [1, V], from how their mistakes go together.

    `wrong` (V, N): 1.0 wrong, 0.0 right, NaN silent. It is V / (1 + (V - 1) r), where r is the mean correlation of two
    voices' mistakes (the design effect of Kish 1965); voices that share mistakes add little to each other. None where
    no two voices have mistakes to compare.
    """
    voices = len(wrong)
    found = []
    for one in range(voices):
        for other in range(one):
            both = ~np.isnan(wrong[one]) & ~np.isnan(wrong[other])
            a, b = wrong[one, both], wrong[other, both]
            if len(a) > 1 and a.std() > 0 and b.std() > 0:
                found.append(float(np.corrcoef(a, b)[0, 1]))
    if not found:
        return None
    shared = min(max(float(np.mean(found)), 0.0), 1.0)
    return voices / (1 + (voices - 1) * shared)


def confusion(given: Sequence[str | None], final: Sequence[str | None]) -> dict[tuple[str, str], int]:
    """Count each pair of a given and a final value; rows that lack one of them don't count. The most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for pair in zip(given, final, strict=True):
        if pair[0] is not None and pair[1] is not None:
            counts[pair[0], pair[1]] = counts.get((pair[0], pair[1]), 0) + 1
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def reliability(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return, for each bin of equal width that has rows: mean confidence, share that is right, rows.

    `confidence` (N,) in [0, 1]; `right` (N,).
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    filled = [place == number for number in range(bins)]
    return [(float(confidence[own].mean()), float(right[own].mean()), int(own.sum())) for own in filled if own.any()]
