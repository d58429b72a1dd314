"""The rows as they are trained on, and so how a model that was trained on them is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from robustft.config import Config
from robustft.data.train_rows import TrainRow
from robustft.prompts import Prompt
from robustft.records import TRAINED_ON, Decision, Example, Message
from robustft.tasks.options import letters
from robustft.tasks.task import Task
from robustft.tasks.wording import Wording

TRAINING = Prompt("training", "{question}", frozenset({"question"}), frozenset({"instruction"}))


@dataclass(frozen=True, slots=True)
class Form:
    """The prompt and the answer of a run's rows, as they are exported, trained on and evaluated.

    A conversation is taken as it came (`conversational`); a row of columns is rendered, by the user's `prompt` where
    there is one, since its question alone doesn't hold the instruction and the options.
    """

    task: Task
    config: Config
    conversational: bool
    wording: Wording
    prompt: Prompt | None = None

    @classmethod
    def of(cls, examples: Sequence[Example], layout: str, task: Task, config: Config) -> Form:
        """Tell the form from the training rows and their layout. Raises ConfigError for a prompt with a wrong slot."""
        own = config.prompts.training
        prompt = TRAINING.overridden(own) if own else None
        return cls(task, config, layout != "columns", Wording.of(examples, task), prompt)

    def ask(self, example: Example) -> tuple[Message, ...]:
        """Return the turns before the answer; the last one is a user's."""
        if self.conversational:
            return example.messages
        if self.prompt is None:
            return tuple(self.task.render(example))
        *earlier, last = example.messages
        asked = self.prompt.fill(question=last["content"], instruction=self.config.task.instruction)
        return (*earlier, Message(role="user", content=asked))

    def answer(self, example: Example, response: str) -> str:
        """Return what is trained on where `response` is the final one; of several accepted answers the first."""
        said = self._first(response) if self.config.task.kind == "short" else response
        if self.conversational:
            return said
        target = self.config.task.target
        if "{option}" in target:
            target = target.replace("{option}", self._option(example, response))
        return target.replace("{answer}", said)

    def candidates(self, example: Example) -> tuple[str, ...]:
        """Return the answer for each of the row's options, in their order."""
        options = example.options
        if not options:
            return ()
        like = self.wording.like(options)
        return tuple(self.answer(example, self.task.write(name, like, options)) for name in letters(len(options)))

    def _first(self, response: str) -> str:
        """Return the first of several accepted answers, which may be written 'a | b' or "['a', 'b']"."""
        if response.lstrip().startswith(("[", "array([")):
            response = self.task.label(response) or response
        return response.partition(" | ")[0]

    def _option(self, example: Example, response: str) -> str:
        value = self.task.label(response, example.options)
        return self.task.write(value, example.options[0], example.options) if value and example.options else response


class TrainRows:
    """The rows that were kept or relabelled, with their final responses, made anew each time they are gone through."""

    def __init__(self, examples: Sequence[Example], decisions: Sequence[Decision], form: Form) -> None:
        self.examples, self.decisions, self.form = examples, decisions, form

    def __len__(self) -> int:
        return sum(decision.decision in TRAINED_ON for decision in self.decisions)

    def __iter__(self) -> Iterator[TrainRow]:
        for example, decision in zip(self.examples, self.decisions, strict=True):
            if decision.decision in TRAINED_ON:
                yield _train_row(example, decision, self.form)


def _train_row(example: Example, decision: Decision, form: Form) -> TrainRow:
    replaced = decision.response_given if decision.decision == "relabel" else None
    return TrainRow(
        id=example.id,
        messages=form.ask(example),
        response=form.answer(example, decision.response_final or ""),
        rejected=None if replaced is None else form.answer(example, replaced),
        source=example.source,
    )
