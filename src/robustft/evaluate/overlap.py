"""Leaks: held-out rows that are training rows too, word for word or nearly, so that accuracy would be memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.llm.embedder import Embedder
from robustft.records import Example
from robustft.relabel.nearest import SAME

MOST_NAMED = 20
_READ = 1_000
"""Characters that any embedder reads to the end; of longer texts only the beginning may be compared."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A held-out row that asks what the training row `training_id` asks; `cosine` is 1 where it does word for word."""

    id: str
    training_id: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many of the held-out `rows` are training rows too: `exact` and, of the others, `near`.

    `first`: the first of both kinds, at most twenty.
    """

    rows: int
    exact: int
    near: int
    first: tuple[Leak, ...]

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
    together; of long texts also between those of the last paragraphs, since questions about one passage differ there
    only. Raises RobustFTError where the embedder fails.
    """
    shared = len({example.options for example in [*held_out, *training]}) == 1
    texts = [_text(example, with_options=not shared) for example in [*held_out, *training]]
    known = {_normal(text): place for place, text in reversed([*enumerate(texts[len(held_out) :])])}
    exact = [known.get(_normal(text)) for text in texts[: len(held_out)]]
    vectors = await embedder.embed(texts)
    near = nearest(vectors[: len(held_out)], vectors[len(held_out) :])
    apart = await _apart(held_out, training, exact, near, embedder)
    leaks = [
        Leak(example.id, training[place if same is None else same].id, cosine if same is None else 1.0)
        for i, (example, same, (place, cosine)) in enumerate(zip(held_out, exact, near, strict=True))
        if same is not None or (cosine >= SAME and i not in apart)
    ]
    equal = sum(same is not None for same in exact)
    return Overlap(len(held_out), equal, len(leaks) - equal, tuple(leaks[:MOST_NAMED]))


async def _apart(
    held_out: Sequence[Example],
    training: Sequence[Example],
    exact: Sequence[int | None],
    near: Sequence[tuple[int, float]],
    embedder: Embedder,
) -> set[int]:
    """Return the places of held-out rows whose nearest training row is long, and ends with another question."""
    pairs = [
        (i, held_out[i].asked, training[place].asked)
        for i, (same, (place, cosine)) in enumerate(zip(exact, near, strict=True))
        if same is None and cosine >= SAME
    ]
    long = [(i, one, other) for i, one, other in pairs if max(len(one), len(other)) > _READ]
    if not long:
        return set()
    ends = await embedder.embed([text.rpartition("\n\n")[2] for _, one, other in long for text in (one, other)])
    cosine = (ends[::2] * ends[1::2]).sum(axis=1)
    return {i for (i, _, _), close in zip(long, cosine.tolist(), strict=True) if close < SAME}


def nearest(vectors: NDArray[np.float32], others: NDArray[np.float32], block: int = 1024) -> list[tuple[int, float]]:
    """Return for each unit row (N, d) the place of the nearest of the others (M, d), M at least 1, and their cosine.

    In blocks of `block` rows: memory O(block * M).
    """
    found: list[tuple[int, float]] = []
    for start in range(0, len(vectors), block):
        cosine = vectors[start : start + block] @ others.T
        best = cosine.argmax(axis=1)
        found += zip(best.tolist(), cosine[np.arange(len(best)), best].tolist(), strict=True)
    return found


def _text(example: Example, *, with_options: bool) -> str:
    return "\n".join((example.asked, *(example.options if with_options else ())))


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
