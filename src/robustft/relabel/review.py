"""The context answer, with clean neighbours as examples, and the reviewer, who has the last word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robustft.config import Config
from robustft.llm import asking
from robustft.llm.client import LLM, Sampling
from robustft.prompts import Prompt
from robustft.records import JUDGES, Answer, Example, Message
from robustft.store import Stored
from robustft.tasks.task import Reading, Task, given
from robustft.work import Work

CONTEXT = Prompt(
    "context",
    "{examples}{question}\n\nAnswer directly, without any explanation. Reply with one line only:\n"
    "Answer: {answer_form}",
    frozenset({"examples", "question", "answer_form"}),
)
REVIEW = Prompt(
    "review",
    "{question}\n\nTwo readers have answered this question.\nFirst reader: {first}\nSecond reader: {second}\n\n"
    "Decide which answer is right; if neither is, give your own. Reply with one line only:\nAnswer: {answer_form}",
    frozenset({"question", "first", "second", "answer_form"}),
)
SCORED_REVIEW = Prompt(
    "review",
    "{question}\n\nTwo readers have answered.\nFirst reader: {first}\nSecond reader: {second}\n\nThe right answer is",
    frozenset({"question", "first", "second"}),
)


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Asks for the context answer and then for the review of a noisy row, by generating an answer line.

    `full`: the reviewer reads the two answers' texts with their reasoning (the paper's text) rather than their final
    answers (its code).
    """

    task: Task
    sampling: Sampling
    reading: Reading = "tolerant"
    full: bool = False
    context_prompt: Prompt = CONTEXT
    review_prompt: Prompt = REVIEW

    async def context(self, example: Example, neighbours: Sequence[Example], llm: LLM) -> Answer:
        """Answer the question with the neighbours' questions and responses as examples. Raises ModelError."""
        shown = "".join(
            f"{self.task.render(near)[-1]['content']}\nAnswer: {given(near, self.task)}\n\n" for near in neighbours
        )
        return await self._ask("context", self.context_prompt, example, llm, examples=shown)

    async def review(self, example: Example, said: Sequence[Answer], llm: LLM) -> Answer:
        """Give the final answer, having read the context answer and the reasoning expert's. Raises ModelError."""
        reasoned, context = weighed(example, said)
        first, second = self._said(context), self._said(reasoned)
        return await self._ask("review", self.review_prompt, example, llm, first=first, second=second)

    async def _ask(self, name: str, prompt: Prompt, example: Example, llm: LLM, **slots: str) -> Answer:
        form = self.task.answer_form
        messages = asking.wrap(self.task.render(example), prompt, answer_form=form, **slots)
        return await asking.generate(llm, self.task, example, name, messages, self.sampling, self.reading)

    def _said(self, answer: Answer | None) -> str:
        if answer is None or answer.value is None:
            return "(no answer)"
        return f"{answer.reasoning}\n{answer.text}".strip() if self.full else answer.value


@dataclass(frozen=True, slots=True)
class ScoredReviewer:
    """The same two questions, answered with the option whose text is likeliest: ours, for small models.

    The neighbours are turns of their own, so that the examples show the very form that is scored.
    """

    task: Task
    normalise: bool = False
    review_prompt: Prompt = SCORED_REVIEW

    async def context(self, example: Example, neighbours: Sequence[Example], llm: LLM) -> Answer:
        """Answer with the neighbours' questions and option texts as earlier turns. Raises ModelError."""
        shown: list[Message] = []
        for near in reversed(neighbours):  # the nearest stands next to the question
            text = self._text(given(near, self.task), near)
            shown += [self.task.render(near, listed=False)[-1], Message(role="assistant", content=text)]
        *earlier, last = self.task.render(example, listed=False)
        return await self._score("context", [*earlier, *shown, last], example, llm)

    async def review(self, example: Example, said: Sequence[Answer], llm: LLM) -> Answer:
        """Give the final answer, having read the context answer and the reasoning expert's. Raises ModelError."""
        reasoned, context = weighed(example, said)
        first, second = self._text(context.value, example), self._text(reasoned.value if reasoned else None, example)
        messages = self.task.render(example, listed=False)
        return await self._score(
            "review", asking.wrap(messages, self.review_prompt, first=first, second=second), example, llm
        )

    async def _score(self, name: str, messages: Sequence[Message], example: Example, llm: LLM) -> Answer:
        return await asking.score(llm, example, name, messages, normalise=self.normalise)

    def _text(self, value: str | None, example: Example) -> str:
        return "(no answer)" if value is None else self.task.write(value, example.options[0], example.options)


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


async def ask_context(
    work: Work, rows: Sequence[Example], near: Iterable[Sequence[Example]], turn: str = "context"
) -> Stored[Answer]:
    """Ask about rows with the neighbours of each as examples; `turn` names this part of the work, if there are several.

    Raises ModelError when the model can't be reached.
    """
    reviewer = make_reviewer(work.config, work.task)
    asked = zip(rows, near, strict=True)
    (said,) = await asking.ask_all(turn, ["context"], reviewer.context, asked, len(rows), work)
    return _corrected(said, rows, work)


async def ask_review(
    work: Work, rows: Sequence[Example], said: Iterable[Sequence[Answer]], turn: str = "review"
) -> Stored[Answer]:
    """Ask for the last word on some rows; `said`: all that was said of each. Raises ModelError as `ask_context`."""
    reviewer = make_reviewer(work.config, work.task)
    asked = zip(rows, said, strict=True)
    (reviewed,) = await asking.ask_all(turn, ["review"], reviewer.review, asked, len(rows), work)
    return _corrected(reviewed, rows, work)


def _corrected(answers: Stored[Answer], examples: Sequence[Example], work: Work) -> Stored[Answer]:
    """Correct scores as the likelihood expert's are."""
    scored = work.config.paper.answers == "scored" and work.config.likelihood.prior == "batch"
    return asking.batch_corrected(answers, examples, work.folder) if scored else answers


def weighed(example: Example, answers: Sequence[Answer]) -> tuple[Answer | None, Answer]:
    """Return the two answers that the reviewer weighs: the experts', and the one with context."""
    context = next((answer for answer in answers if answer.expert == "context"), asking.silent(example, "context"))
    return reasoned([answer for answer in answers if answer.expert != "context"]), context


def reasoned(answers: Sequence[Answer]) -> Answer | None:
    """Return the answer that the reviewer weighs against the context answer: the reasoning expert's if it was asked."""
    experts = [a for a in answers if a.expert not in JUDGES]
    return next((a for a in experts if a.expert == "reasoning"), experts[0] if experts else None)
