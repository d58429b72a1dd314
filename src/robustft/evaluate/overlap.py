"""Leaks: held-out rows that are training rows too, word for word or nearly, so that accuracy would be memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.llm.embedder import Embedder
from robustft.records import Example
from robustft.relabel.neighbours import SAME

MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Overlap:
    """Held-out rows, of `rows`, that ask what a training row asks: `exact` and, of the others, `near`; their `ids`.

    `ids` are those of the first rows of both kinds, at most twenty.
    """

    rows: int
    exact: int
    near: int
    ids: tuple[str, ...]

    @property
    def found(self) -> int:
        """How many there are."""
        return self.exact + self.near

    def facts(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


async def find_overlap(held_out: Sequence[Example], training: Sequence[Example], embedder: Embedder) -> Overlap:
    """Compare the rows by what they ask; the options count where rows differ in them.

    Exact: equal but for white space and case. Near: a cosine of at least 0.95 between the embeddings, which are made
    together. Raises RobustFTError where the embedder fails.
    """
    shared = len({example.options for example in [*held_out, *training]}) == 1
    texts = [_text(example, with_options=not shared) for example in [*held_out, *training]]
    exact = equal(texts[: len(held_out)], texts[len(held_out) :])
    vectors = await embedder.embed(texts)
    near = close(vectors[: len(held_out)], vectors[len(held_out) :]) & ~exact
    found = [example.id for example, leaks in zip(held_out, exact | near, strict=True) if leaks]
    return Overlap(len(held_out), int(exact.sum()), int(near.sum()), tuple(found[:MOST_NAMED]))


def equal(texts: Sequence[str], others: Sequence[str]) -> NDArray[np.bool_]:
    """Return which texts (N,) are among the others, but for white space and case."""
    known = {_normal(text) for text in others}
    return np.array([_normal(text) in known for text in texts], dtype=bool)


def close(
    vectors: NDArray[np.float32], others: NDArray[np.float32], threshold: float = SAME, block: int = 1024
) -> NDArray[np.bool_]:
    """Return which unit rows (N, d) have a cosine of at least `threshold` with one of the others (M, d).

    In blocks of `block` rows: memory O(block * M).
    """
    if len(others) == 0:
        return np.zeros(len(vectors), dtype=bool)
    starts = range(0, len(vectors), block)
    found = [(vectors[start : start + block] @ others.T).max(axis=1) >= threshold for start in starts]
    return np.concatenate([np.zeros(0, dtype=bool), *found])


def _text(example: Example, *, with_options: bool) -> str:
    return "\n".join((example.asked, *(example.options if with_options else ())))


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
