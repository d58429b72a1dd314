"""The relabel stage: a proposal for every noisy row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np

from robustft.config import Config
from robustft.engine.local import Progress, run_all
from robustft.errors import ModelError
from robustft.llm import asking
from robustft.llm.client import LLM
from robustft.llm.embedder import Embedder
from robustft.records import JUDGES, Answer, Example, Relabel, Verdict
from robustft.relabel.neighbours import nearest
from robustft.relabel.review import CONTEXT, REVIEW, SCORED_REVIEW, Reviewer, ScoredReviewer
from robustft.tasks.task import Task


async def relabel(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    verdicts: Sequence[Verdict],
    config: Config,
    task: Task,
    open_llm: Callable[[], Awaitable[LLM]],
    open_embedder: Callable[[], Awaitable[Embedder]],
    progress: Progress,
) -> tuple[list[Answer], list[Relabel]]:
    """Propose a response for every noisy row. Returns the new answers (context, review) and the proposals.

    `paper` asks the reviewer; `self-label` proposes the expert's own answer; `self-select` and `none` nothing.
    """
    noisy = [example for example, verdict in zip(examples, verdicts, strict=True) if verdict.noisy]
    said = _by_row(answers)
    if config.method == "self-label":
        return [], [_own_answer(example, said[example.id], task) for example in noisy]
    if config.method != "paper" or not noisy:
        return [], [Relabel(e.id, None, f"method {config.method} proposes no response") for e in noisy]
    clean = [example for example, verdict in zip(examples, verdicts, strict=True) if not verdict.noisy]
    neighbours = await _neighbours(noisy, clean, config.paper.neighbours, open_embedder)
    _note_thin_context(len(clean), neighbours, config.paper.neighbours, progress)
    reviewer, llm = make_reviewer(config, task), await open_llm()

    async def ask_context(row: int) -> Answer:
        return await reviewer.context(noisy[row], neighbours[row], llm)

    async def ask_review(row: int) -> Answer:
        return await reviewer.review(noisy[row], _reasoned(said[noisy[row].id]), contexts[row], llm)

    contexts = await _asked("context", ask_context, noisy, config, progress)
    reviews = await _asked("review", ask_review, noisy, config, progress)
    rows = zip(noisy, neighbours, contexts, reviews, strict=True)
    return [*contexts, *reviews], [_proposal(*row, task) for row in rows]


async def _asked(
    name: str,
    ask: Callable[[int], Awaitable[Answer]],
    examples: Sequence[Example],
    config: Config,
    progress: Progress,
) -> list[Answer]:
    """Return everybody's answer, a failed call as an abstention; scores are corrected as the likelihood's are."""
    progress.start(name, len(examples))
    rows = await run_all(ask, range(len(examples)), config.llm.concurrency, progress)
    progress.finish()
    answers = [
        asking.failed(example, name, row) if isinstance(row, ModelError) else row
        for example, row in zip(examples, rows, strict=True)
    ]
    scored = config.paper.answers == "scored" and config.likelihood.prior == "batch"
    return asking.batch_corrected(answers, examples) if scored else answers


def make_reviewer(config: Config, task: Task) -> Reviewer | ScoredReviewer:
    """Return who answers with context and reviews. Raises ConfigError for a prompt with a wrong slot."""
    prompts = config.prompts
    if config.paper.answers == "scored":
        return ScoredReviewer(task, config.likelihood.normalise, SCORED_REVIEW.overridden(prompts.review))
    return Reviewer(
        task,
        asking.answer_sampling(config),
        config.task.reading,
        config.paper.variant == "published",
        CONTEXT.overridden(prompts.context),
        REVIEW.overridden(prompts.review),
    )


async def _neighbours(
    noisy: Sequence[Example],
    clean: Sequence[Example],
    k: int,
    open_embedder: Callable[[], Awaitable[Embedder]],
) -> list[list[Example]]:
    """Return up to k nearest clean rows of each noisy row; all rows are embedded at once, by their messages."""
    if not clean or k == 0:
        return [[] for _ in noisy]
    texts = [_text(example) for example in (*noisy, *clean)]
    vectors = await (await open_embedder()).embed(texts)
    groups = np.unique(np.array([" ".join(text.casefold().split()) for text in texts]), return_inverse=True)[1]
    n = len(noisy)
    found = nearest(vectors[:n], vectors[n:], k, groups[:n], groups[n:])
    return [[clean[index] for index in row] for row in found]


def _text(example: Example) -> str:
    return "\n".join(message["content"] for message in example.messages if message["role"] != "system")


def _note_thin_context(clean: int, neighbours: Sequence[Sequence[Example]], k: int, progress: Progress) -> None:
    """Say where the paper's method has less context than it wants."""
    if clean == 0:
        progress.note("no row was found clean: context answers are asked without examples")
    elif short := sum(len(near) < k for near in neighbours):
        progress.note(f"{short} rows have fewer than {k} clean neighbours ({clean} rows are clean in all)")


def _reasoned(answers: Sequence[Answer]) -> Answer | None:
    """Return the answer that the reviewer weighs against the context answer: the reasoning expert's if it was asked."""
    experts = [a for a in answers if a.expert not in JUDGES]
    return next((a for a in experts if a.expert == "reasoning"), experts[0] if experts else None)


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


def _by_row(answers: Sequence[Answer]) -> Mapping[str, list[Answer]]:
    rows: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        rows[answer.id].append(answer)
    return rows
