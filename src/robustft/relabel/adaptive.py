"""Method posterior relabels: context and review are two more views, asked where they can change a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from robustft.fusion.fuse import Fused, fuse, in_turn, worthwhile
from robustft.fusion.views import Rows, Views, views_of
from robustft.llm import asking
from robustft.records import OF_RELABEL, Answer, Example, by_row
from robustft.relabel.neighbours import clean_neighbours, ids_shown
from robustft.relabel.review import ask_context, ask_review
from robustft.store import Stored, Taken, at_random
from robustft.tasks.wording import Wording
from robustft.work import Work


@dataclass(frozen=True, slots=True)
class Asked:
    """What context and review said, and the ids of the rows that each row was `shown` as context.

    `fused` is the posterior with what they said, where the method is that and they said anything.
    """

    said: Sequence[Stored[Answer]] = ()
    shown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fused: Fused | None = None


async def ask_further(work: Work, said: Sequence[Stored[Answer]]) -> Asked:
    """Ask for context and review where the config names them and they can change a decision.

    The neighbours are rows that are sure by themselves, with the answer that is believed of them.
    """
    examples, config = work.examples, work.config
    wanted = [name for name in config.experts if name in OF_RELABEL]
    if not wanted:
        return Asked()
    rows, new = Rows.of(examples, work.task, work.reviewed), list[Stored[Answer]]()
    shown: dict[str, tuple[str, ...]] = {}

    def seen(more: Sequence[Stored[Answer]] = ()) -> Views:
        return views_of(rows, [*said, *new, *more], config.experts, work.task)

    fused = fuse(seen(), config)

    async def ask(name: str, places: NDArray[np.int64], turn: str) -> Stored[Answer]:
        asked = Taken(examples, places)
        if name == "context":
            near = await _neighbours(places.tolist(), fused, work)
            shown.update(ids_shown(examples, places.tolist(), near))
            rows_of = at_random(examples, work.folder)
            wording = Wording.of(work.examples, work.task)
            believed = ([_believed(rows_of[place], place, fused, wording) for place in row] for row in near)
            return await ask_context(work, asked, believed, turn)
        everything = by_row(examples, [*said, *new])
        chosen = frozenset(places.tolist())
        return await ask_review(work, asked, (row for i, row in enumerate(everything) if i in chosen), turn)

    for name in wanted:
        first, further = in_turn(fused, config)
        if not len(first):
            continue
        turns = [await ask(name, first, name)]
        if len(further) and worthwhile(fused, seen(turns), name, config):
            turns.append(await ask(name, further, f"{name}, further"))
            turns = asking.in_row_order(Taken(examples, np.union1d(first, further)), turns, work.folder)
        new += turns
        fused = fuse(seen(), config)
    return Asked(new, shown, fused)


async def _neighbours(places: Sequence[int], fused: Fused, work: Work) -> list[list[int]]:
    """Return the places of each row's neighbours among those whose confidence alone reaches the target."""
    sure = fused.choice.confidence >= work.config.target if fused.identified else np.zeros(0, dtype=bool)
    clean = [row for row in np.flatnonzero(sure).tolist() if _value(fused, row) is not None]
    k, progress = work.config.paper.neighbours, work.progress
    return await clean_neighbours(work.examples, places, clean, k, work.open_embedder, progress.note)


def _value(fused: Fused, row: int) -> str | None:
    answer, candidates = int(fused.choice.answer[row]), fused.views.candidates[row]
    return candidates[answer] if answer < len(candidates) else None


def _believed(example: Example, place: int, fused: Fused, wording: Wording) -> Example:
    """Return the row at a place with the answer that is believed of it."""
    value = _value(fused, place) or ""
    return replace(example, response=wording.write(value, example))
