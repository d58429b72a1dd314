"""The nearest clean rows of a row, which are shown as context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec

import numpy as np

from robustft.llm.embedder import Embedder
from robustft.records import Example
from robustft.relabel.index import indexed
from robustft.relabel.nearest import nearest

EXACT = 200_000
"""Clean rows up to which all of them are looked at; an index is asked about more."""


async def clean_neighbours(
    examples: Sequence[Example],
    asked: Sequence[int],
    clean: Sequence[int],
    k: int,
    open_embedder: Callable[[], Awaitable[Embedder]],
    say: Callable[[str], None] = lambda line: None,
) -> list[list[int]]:
    """Return for each row of `asked` its up to k nearest rows of `clean`; both are places in `examples`.

    All rows are embedded at once, by what is asked. `say` is told how exact an index was.
    """
    if not clean or k == 0:
        return [[] for _ in asked]
    texts = [example.asked for example in examples]
    vectors = await (await open_embedder()).embed(texts)
    groups = np.unique(np.array([" ".join(text.casefold().split()) for text in texts]), return_inverse=True)[1]
    rows, pool = np.array(asked, dtype=np.int64), np.array(clean, dtype=np.int64)
    wanted = (vectors[rows], vectors[pool], k, groups[rows], groups[pool])
    if len(pool) <= EXACT:
        found = nearest(*wanted)
    elif find_spec("faiss") is None:
        say(f"each of {len(pool)} clean rows is looked at for neighbours; pip install 'robustft[scale]' for an index")
        found = nearest(*wanted)
    else:
        found, recall = indexed(*wanted)
        say(f"neighbours among {len(pool)} clean rows come from an index that finds {recall:.1%} of the nearest")
    return [[clean[place] for place in row] for row in found]


def ids_shown(
    examples: Sequence[Example], asked: Sequence[int], near: Sequence[Sequence[int]]
) -> dict[str, tuple[str, ...]]:
    """Return the ids of the rows that each asked row is shown, by its own id; all are given as places."""
    ids = [example.id for example in examples]
    return {ids[place]: tuple(ids[other] for other in row) for place, row in zip(asked, near, strict=True)}
