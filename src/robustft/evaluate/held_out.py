"""The held-out rows: read as they are, held against the training rows, and put as questions to the models."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robustft.config import Config, DataConfig, EvaluateConfig
from robustft.data.cells import shown
from robustft.data.layouts import Layout, response_column
from robustft.data.readers import read, stamp
from robustft.errors import ConfigError, DataError
from robustft.evaluate.overlap import Overlap, find_overlap
from robustft.llm.embedder import Embedder
from robustft.records import Example, Message
from robustft.relabel.neighbours import clean_neighbours
from robustft.run import ADAPTER, digest
from robustft.tasks.task import Task
from robustft.train.form import Form

_COLUMN = re.compile(r"data\.(question|response|options|context|id)\b")
_OWN = {"response": "truth", "context": "passage"}
OpenEmbedder = Callable[[], Awaitable[Embedder]]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out rows, whose `truth` is their response, and why others were `set_aside`, a line each."""

    examples: Sequence[Example]
    layout: Layout
    set_aside: Sequence[str]


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


def context_data(config: Config) -> DataConfig | None:
    """Return how the file of neighbours is read; None where they are training rows, or none are shown."""
    settings = settings_of(config)
    if settings.neighbours == 0 or settings.context in {"noisy", "cleaned"}:
        return None
    return config.data.model_copy(update={"path": settings.context, "truth": None, "truth_path": None})


def stamps(config: Config) -> list[str]:
    """Return what tells whether a file that evaluation reads has changed; nothing where nothing is evaluated."""
    if config.evaluate is None:
        return []
    context = context_data(config)
    adapters = [digest(Path(folder) / ADAPTER) for folder in config.evaluate.adapters.values()]
    return stamp(held_out_data(config)) + ([] if context is None else stamp(context)) + adapters


def read_held_out(config: Config, task: Task) -> HeldOut:
    """Read the held-out rows; malformed ones, and those without a response, are met as `data.on_bad_row` says.

    Raises ConfigError, DataError.
    """
    data = held_out_data(config)
    try:
        rows = read(data, task, settings_of(config).limit)
    except DataError as error:
        raise DataError(
            _COLUMN.sub(_own_key, error.message), path=error.path, row=error.row, field=error.field
        ) from None
    blank = [
        f"row '{example.id}' ({shown(example.asked)}) has no response to compare with"
        for example in rows.examples
        if example.response is None
    ]
    answered = [replace(example, truth=example.response) for example in rows.examples if example.response is not None]
    if blank and (data.on_bad_row == "fail" or not answered):
        column = response_column(rows.layout, data)
        raise DataError(f"{blank[0]} (data.on_bad_row: skip sets such rows aside)", path=data.path, field=column)
    malformed = [f"row {row.row} of {row.path}: {row.reason}" for row in rows.skipped]
    return HeldOut(answered, rows.layout, malformed + blank)


def _own_key(found: re.Match[str]) -> str:
    """Return the key of `evaluate` that names a column of the held-out file, for the one of `data`."""
    return f"evaluate.{_OWN.get(found[1], found[1])}"


async def check_overlap(
    held_out: Sequence[Example], training: Sequence[Example], config: Config, open_embedder: OpenEmbedder
) -> Overlap:
    """Return how many held-out rows are training rows too. Raises DataError where there are any, unless allowed."""
    settings = settings_of(config)
    overlap = await find_overlap(held_out, training, await open_embedder())
    if overlap.found and not settings.allow_overlap:
        named = ", ".join(f"'{leak.id}' as training row '{leak.training_id}'" for leak in overlap.first[:3])
        raise DataError(
            f"{overlap.found} of {overlap.rows} rows are training rows too, {overlap.exact} of them word for word "
            f"({named}{', ...' if overlap.found > 3 else ''}); take them out of one of the files, or write "
            "evaluate.allow_overlap: true",
            path=settings.path,
        )
    return overlap


async def make_questions(
    held_out: HeldOut, pool: Sequence[Example], form: Form, config: Config, open_embedder: OpenEmbedder
) -> list[Question]:
    """Return the rows as they are asked, each behind its nearest rows of `pool`, as many as `evaluate.neighbours`.

    Neighbours are turns of their own, the nearest next to the question; rows that ask the same are passed over.
    Raises DataError for conversations where the training rows are columns, or the other way round, and for a row
    without options where answers are scored.
    """
    settings, asked = settings_of(config), held_out.examples
    if form.conversational == (held_out.layout == "columns"):
        trained = "conversations" if form.conversational else "columns"
        raise DataError(
            f"its layout is {held_out.layout}, while the training rows are {trained}: they wouldn't be asked alike",
            path=settings.path,
        )
    rows = [*asked, *pool]
    places, clean = range(len(asked)), range(len(asked), len(rows))
    near = await clean_neighbours(rows, places, clean, settings.neighbours, open_embedder)
    return [
        _question(example, [rows[place] for place in found], form, settings)
        for example, found in zip(asked, near, strict=True)
    ]


def _question(example: Example, near: Sequence[Example], form: Form, settings: EvaluateConfig) -> Question:
    scored = settings.answers == "scored"
    if scored and not example.options:
        raise DataError(
            f"row '{example.id}' has no options to score; write evaluate.answers: generated", path=settings.path
        )
    *earlier, last = form.ask(example)
    context: list[Message] = []
    for other in reversed(near):
        answer = form.answer(other, other.response or "")
        context += [form.ask(other)[-1], Message(role="assistant", content=answer)]
    # the reader has made sure that a response can be read
    truth = form.task.label(example.truth or "", example.options) or ""
    return Question(example, (*earlier, *context, last), form.candidates(example) if scored else (), truth)
