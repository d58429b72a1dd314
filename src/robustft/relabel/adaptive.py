"""Method posterior relabels: context and review are two more views, asked where they can change a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from robustft.config import Config
from robustft.fusion.fuse import Fused, fuse, whom_to_ask
from robustft.fusion.views import views_of
from robustft.llm import asking
from robustft.records import OF_RELABEL, Answer, Example, Relabel, said_by_row
from robustft.relabel.neighbours import clean_neighbours
from robustft.relabel.review import corrected, make_reviewer, reasoned
from robustft.tasks.task import Task
from robustft.work import Work


async def ask_further(
    work: Work, answers: Sequence[Answer]
) -> tuple[list[Answer], Fused, Mapping[str, tuple[str, ...]]]:
    """Ask for context and review where the config names them; returns the new answers, the belief, and the ids shown.

    The neighbours are rows that are sure by themselves, with the answer that is believed of them.
    """
    examples, config, task = work.examples, work.config, work.task
    said = list(answers)
    shown: dict[str, tuple[str, ...]] = {}
    fused = fuse(views_of(examples, said, config.experts, task, work.reviewed), config)
    for name in (name for name in config.experts if name in OF_RELABEL):
        rows = whom_to_ask(fused, config).tolist()
        if not rows:
            continue
        asked = [examples[row] for row in rows]
        if name == "context":
            sure = sure_rows(examples, fused, config, task)
            near = await clean_neighbours(examples, rows, list(sure), config.paper.neighbours, work.open_embedder)
            neighbours = [[sure[place] for place in row] for row in near]
            shown |= {e.id: tuple(near.id for near in nears) for e, nears in zip(asked, neighbours, strict=True)}
            said += await _contexts(asked, neighbours, work)
        else:
            said += await _reviews(asked, said, work)
        fused = fuse(views_of(examples, said, config.experts, task, work.reviewed), config)
    return said[len(answers) :], fused, shown


async def _contexts(asked: Sequence[Example], neighbours: Sequence[Sequence[Example]], work: Work) -> list[Answer]:
    config, llm = work.config, await work.open_llm()
    reviewer = make_reviewer(config, work.task)

    async def ask(place: int) -> Answer:
        return await reviewer.context(asked[place], neighbours[place], llm)

    return corrected(await asking.ask_all("context", ask, asked, config.llm.rows_at_once, work.progress), asked, config)


async def _reviews(asked: Sequence[Example], said: Sequence[Answer], work: Work) -> list[Answer]:
    config, llm = work.config, await work.open_llm()
    reviewer, by_row = make_reviewer(config, work.task), said_by_row(said)

    async def ask(place: int) -> Answer:
        example, before = asked[place], by_row[asked[place].id]
        context = next((a for a in before if a.expert == "context"), asking.silent(example, "context"))
        return await reviewer.review(example, reasoned(before), context, llm)

    return corrected(await asking.ask_all("review", ask, asked, config.llm.rows_at_once, work.progress), asked, config)


def sure_rows(examples: Sequence[Example], fused: Fused, config: Config, task: Task) -> dict[int, Example]:
    """Return the rows whose confidence alone reaches the target, by place, with the answer that is believed of them."""
    if not fused.identified:
        return {}
    rows = np.flatnonzero(fused.choice.confidence >= config.target_accuracy).tolist()
    believed = {row: _value(fused, row) for row in rows}
    return {row: _with_answer(examples[row], value, task) for row, value in believed.items() if value is not None}


def proposals(
    examples: Sequence[Example], fused: Fused, shown: Mapping[str, tuple[str, ...]], task: Task
) -> list[Relabel]:
    """Propose the likeliest answer for every row of which the given response isn't."""
    if not fused.identified:
        return []
    changed = np.flatnonzero(fused.choice.answer != fused.views.label).tolist()
    return [_proposal(examples[row], _value(fused, row), shown, task) for row in changed]


def _proposal(example: Example, value: str | None, shown: Mapping[str, tuple[str, ...]], task: Task) -> Relabel:
    ids = shown.get(example.id, ())
    if value is None:
        return Relabel(example.id, None, "likeliest is an answer that nobody gave", ids)
    response = task.write(value, example.response, example.options)
    return Relabel(example.id, response, f"{value} is the likeliest answer", ids)


def _value(fused: Fused, row: int) -> str | None:
    answer, candidates = int(fused.choice.answer[row]), fused.views.candidates[row]
    return candidates[answer] if answer < len(candidates) else None


def _with_answer(example: Example, value: str, task: Task) -> Example:
    return replace(example, response=task.write(value, example.response, example.options))
