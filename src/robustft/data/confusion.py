"""Wrong responses as people make them: the easily confused one, the neighbour's, the half one. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_TIE = 1e-6
"""Cosines that differ by less are equal: where texts share no word, an embedding of words has them all at 0."""


def nearest_values(
    vectors: NDArray[np.float32],
    values: Sequence[str],
    allowed: Callable[[int, str], bool],
    seed: int = 0,
    block: int = 1024,
) -> list[str | None]:
    """Return for each row the value of the row nearest to it, of the rows whose value it may wrongly have.

    Args:
        vectors: (N, d), unit rows or zeros; near is a high cosine. Of rows that are equally near, one is drawn.
        values: the rows' right values. A row's own value is never wrong.
        allowed: whether a row may wrongly have a value.
        seed: of the draws among ties.
        block: rows compared at once; memory O(block * N).

    Returns:
        N values, None for a row that may have none of the others'.
    """
    code_of = {value: code for code, value in enumerate(dict.fromkeys(values))}
    codes = np.array([code_of[value] for value in values], dtype=np.int64)
    found: list[str | None] = []
    for start in range(0, len(values), block):
        cosine = vectors[start : start + block] @ vectors.T
        cosine[codes[start : start + block, None] == codes] = -np.inf
        for row, near in enumerate(cosine, start):
            found.append(_nearest(near, codes, values, row, allowed, seed))
    return found


def nearest_class(values: Sequence[str], vectors: NDArray[np.float32], seed: int = 0) -> list[str | None]:
    """Return for each row the class whose rows' mean vector is nearest to that of the row's own class.

    `values` are the N rows' classes, `vectors` (N, d) their embeddings. A class without rows is nobody's nearest; None
    where all rows are of one class.
    """
    classes = list(dict.fromkeys(values))
    rows_of = np.array(values, dtype=object)
    means = [vectors[rows_of == name].mean(axis=0) for name in classes]
    units = np.array([mean / (np.linalg.norm(mean) or 1.0) for mean in means], dtype=np.float32)
    wrong = dict(zip(classes, nearest_values(units, classes, lambda row, value: True, seed), strict=True))
    return [wrong[value] for value in values]


def nearest_option(
    values: Sequence[str], choices: Sequence[Sequence[str]], vectors: Sequence[NDArray[np.float32]], seed: int = 0
) -> list[str | None]:
    """Return for each row the option whose text is nearest to the text of the right one.

    `choices` are the names of each row's options, `values` the right one's, `vectors` (K, d) the embeddings of each
    row's option texts. None for a row with no other option.
    """
    found: list[str | None] = []
    for row, (value, names) in enumerate(zip(values, choices, strict=True)):
        if value not in names:
            found.append(None)
            continue
        right = names.index(value)
        cosine = vectors[row] @ vectors[row][right]
        cosine[right] = -np.inf
        found.append(_nearest(cosine, np.arange(len(names)), names, row, lambda row, value: True, seed))
    return found


def halves(
    responses: Sequence[str],
    values: Sequence[str],
    label: Callable[[str], str | None],
    agree: Callable[[str, str], bool],
) -> list[str | None]:
    """Return the first half of each response's text; None where it can't be read, or still gives the right value."""
    cut = [response[: len(response) // 2].rstrip() for response in responses]
    read = [label(half) for half in cut]
    return [
        half if value is not None and not agree(value, right) else None
        for half, value, right in zip(cut, read, values, strict=True)
    ]


def _nearest(
    cosine: NDArray[np.float32],
    codes: NDArray[np.int64],
    values: Sequence[str],
    row: int,
    allowed: Callable[[int, str], bool],
    seed: int,
) -> str | None:
    """Return the allowed value of the highest cosine, -inf standing for no candidate; uses `cosine` up."""
    draw = np.random.default_rng((seed, row))
    while (top := cosine.max(initial=-np.inf)) > -np.inf:
        near = np.flatnonzero(cosine >= top - _TIE)
        candidate = int(near[draw.integers(len(near))])
        if allowed(row, values[candidate]):
            return values[candidate]
        cosine[codes == codes[candidate]] = -np.inf
    return None
