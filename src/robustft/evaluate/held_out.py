"""The held-out rows: read as they are, held against the training rows, and put as questions to the models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from robustft.config import Config, DataConfig, EvaluateConfig
from robustft.data.readers import read
from robustft.errors import ConfigError, DataError
from robustft.evaluate.overlap import Overlap, find_overlap
from robustft.llm.embedder import Embedder
from robustft.records import Example, Message
from robustft.relabel.neighbours import clean_neighbours
from robustft.tasks.task import Task
from robustft.train.form import Form

OpenEmbedder = Callable[[], Awaitable[Embedder]]


@dataclass(frozen=True, slots=True)
class Question:
    """A held-out row as every model is asked it: the turns, each option's answer (scored), and the true value."""

    example: Example
    messages: tuple[Message, ...]
    candidates: tuple[str, ...]
    truth: str


def settings_of(config: Config) -> EvaluateConfig:
    """Return the config's section `evaluate`. Raises ConfigError where there is none, or no options to score."""
    if config.evaluate is None:
        raise ConfigError("evaluate.path: not set; name a file of rows that were held out")
    if config.evaluate.answers == "scored" and config.task.kind != "choice":
        raise ConfigError(
            f"evaluate.answers: scored needs options, and a '{config.task.kind}' task has none; write generated"
        )
    return config.evaluate


def held_out_data(config: Config) -> DataConfig:
    """Return how the held-out file is read: as `data`, but for what `evaluate` names. Raises ConfigError."""
    settings = settings_of(config)
    own = {
        "path": settings.path,
        "id": settings.id,
        "question": settings.question or config.data.question,
        "response": settings.truth or config.data.response,
        "options": settings.options or config.data.options,
        "context": settings.passage or config.data.context,
        "truth": None,
        "truth_path": None,
    }
    return config.data.model_copy(update=own)


def read_held_out(config: Config, task: Task) -> list[Example]:
    """Return the held-out rows, whose `truth` is their response.

    Raises ConfigError, and DataError for a row without a response.
    """
    data = held_out_data(config)
    examples = read(data, task, settings_of(config).limit).examples
    if unanswered := next((example.id for example in examples if example.response is None), None):
        raise DataError(f"row '{unanswered}' has no response to compare with", path=data.path, field=data.response)
    return [replace(example, truth=example.response) for example in examples]


async def check_overlap(
    held_out: Sequence[Example], training: Sequence[Example], config: Config, open_embedder: OpenEmbedder
) -> Overlap:
    """Return how many held-out rows are training rows too. Raises DataError where there are any, unless allowed."""
    settings = settings_of(config)
    overlap = await find_overlap(held_out, training, await open_embedder())
    if overlap.found and not settings.allow_overlap:
        named = ", ".join(f"'{row}'" for row in overlap.ids[:3])
        raise DataError(
            f"{overlap.found} of {overlap.rows} rows are training rows too, {overlap.exact} of them word for word "
            f"({named}{', ...' if overlap.found > 3 else ''}); take them out of one of the files, or write "
            "evaluate.allow_overlap: true",
            path=settings.path,
        )
    return overlap


async def make_questions(
    held_out: Sequence[Example], pool: Sequence[Example], form: Form, config: Config, open_embedder: OpenEmbedder
) -> list[Question]:
    """Return the rows as they are asked, each behind its nearest rows of `pool`, as many as `evaluate.neighbours`.

    Neighbours are turns of their own, the nearest next to the question; rows that ask the same are passed over.
    Raises DataError for a row without options where answers are scored, or whose response can't be read.
    """
    settings, rows = settings_of(config), [*held_out, *pool]
    places, clean = range(len(held_out)), range(len(held_out), len(rows))
    near = await clean_neighbours(rows, places, clean, settings.neighbours, open_embedder)
    return [
        _question(example, [rows[place] for place in found], form, settings)
        for example, found in zip(held_out, near, strict=True)
    ]


def _question(example: Example, near: Sequence[Example], form: Form, settings: EvaluateConfig) -> Question:
    truth = form.task.label(example.truth or "", example.options)
    if truth is None:
        raise DataError(f"row '{example.id}': its response can't be read: {example.truth!r}", path=settings.path)
    scored = settings.answers == "scored"
    if scored and not example.options:
        raise DataError(
            f"row '{example.id}' has no options to score; write evaluate.answers: generated", path=settings.path
        )
    *earlier, last = form.ask(example)
    shown: list[Message] = []
    for other in reversed(near):
        answer = form.answer(other, other.response or "")
        shown += [form.ask(other)[-1], Message(role="assistant", content=answer)]
    return Question(example, (*earlier, *shown, last), form.candidates(example) if scored else (), truth)
