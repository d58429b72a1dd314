"""The relabel stage: a proposal for every noisy row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustft.engine.local import Progress
from robustft.fusion.fuse import Fused
from robustft.fusion.verdicts import verdicts_of
from robustft.llm import asking
from robustft.records import Answer, Example, Relabel, Verdict, said_by_row
from robustft.relabel.adaptive import ask_further, proposals
from robustft.relabel.neighbours import clean_neighbours
from robustft.relabel.review import corrected, make_reviewer, reasoned
from robustft.tasks.task import Task
from robustft.work import Work


@dataclass(frozen=True, slots=True)
class Relabelled:
    """What the stage found: the answers that it asked for (context, review), the proposals, and the verdicts then.

    `fused` is the posterior, where the method is that.
    """

    answers: list[Answer]
    relabels: list[Relabel]
    verdicts: Sequence[Verdict]
    fused: Fused | None = None


async def relabel(work: Work, answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> Relabelled:
    """Propose a response for every noisy row.

    `posterior` proposes the likeliest answer; `paper` asks the reviewer; `self-label` proposes the expert's own answer;
    `self-select` and `none` nothing.
    """
    examples, config, task = work.examples, work.config, work.task
    if config.method == "posterior":
        new, fused, shown = await ask_further(work, answers)
        everything = [*answers, *new]
        return Relabelled(new, proposals(examples, fused, shown, task), verdicts_of(examples, everything, fused), fused)
    noisy = [example for example, verdict in zip(examples, verdicts, strict=True) if verdict.noisy]
    said = said_by_row(answers)
    if config.method == "self-label":
        own = [_own_answer(example, said[example.id], task) for example in noisy]
        return Relabelled([], own, verdicts)
    if config.method != "paper" or not noisy:
        nothing = [Relabel(e.id, None, f"method {config.method} proposes no response") for e in noisy]
        return Relabelled([], nothing, verdicts)
    clean = [row for row, verdict in enumerate(verdicts) if not verdict.noisy]
    places = [row for row, verdict in enumerate(verdicts) if verdict.noisy]
    near = await clean_neighbours(examples, places, clean, config.paper.neighbours, work.open_embedder)
    neighbours = [[examples[place] for place in row] for row in near]
    _note_thin_context(len(clean), neighbours, config.paper.neighbours, work.progress)
    reviewer, llm = make_reviewer(config, task), await work.open_llm()

    async def ask_context(row: int) -> Answer:
        return await reviewer.context(noisy[row], neighbours[row], llm)

    async def ask_review(row: int) -> Answer:
        return await reviewer.review(noisy[row], reasoned(said[noisy[row].id]), contexts[row], llm)

    contexts = corrected(
        await asking.ask_all("context", ask_context, noisy, config.llm.rows_at_once, work.progress), noisy, config
    )
    reviews = corrected(
        await asking.ask_all("review", ask_review, noisy, config.llm.rows_at_once, work.progress), noisy, config
    )
    rows = zip(noisy, neighbours, contexts, reviews, strict=True)
    return Relabelled([*contexts, *reviews], [_proposal(*row, task) for row in rows], verdicts)


def _note_thin_context(clean: int, neighbours: Sequence[Sequence[Example]], k: int, progress: Progress) -> None:
    """Say where the paper's method has less context than it wants."""
    if clean == 0:
        progress.note("no row was found clean: context answers are asked without examples")
    elif short := sum(len(near) < k for near in neighbours):
        progress.note(f"{short} rows have fewer than {k} clean neighbours ({clean} rows are clean in all)")


def _proposal(example: Example, near: Sequence[Example], context: Answer, review: Answer, task: Task) -> Relabel:
    ids = tuple(neighbour.id for neighbour in near)
    if review.finish == "error":
        return Relabel(example.id, None, f"call failed: {review.text}", ids, context.nll)
    if review.value is None:
        return Relabel(example.id, None, "the reviewer gave no readable answer", ids, context.nll)
    shown = f"with {len(near)} clean neighbours as context" if near else "without context"
    reason = f"reviewed {shown}: context says {context.value or 'nothing'}, reviewer says {review.value}"
    return Relabel(example.id, task.write(review.value, example.response, example.options), reason, ids, context.nll)


def _own_answer(example: Example, answers: Sequence[Answer], task: Task) -> Relabel:
    answer = answers[0] if answers else None
    if answer is None or answer.value is None:
        return Relabel(example.id, None, "the model gave no readable answer")
    response = task.write(answer.value, example.response, example.options)
    return Relabel(example.id, response, f"the model's own answer ({answer.expert})", nll=answer.nll)
