"""Planting wrong responses at a known rate in a file of right ones, with the truth kept in a column of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustft.config import Config
from robustft.data.confusion import halves, nearest_class, nearest_option, nearest_values
from robustft.data.layouts import with_response
from robustft.data.planting import Kind, plant
from robustft.data.readers import read
from robustft.data.writing import columns_of, write_rows
from robustft.errors import ConfigError, DataError
from robustft.llm.models import Models
from robustft.offline import guarded
from robustft.records import Example
from robustft.tasks import make_task
from robustft.tasks.choice import letters
from robustft.tasks.task import Task, given

__all__ = ["Kind", "NoiseSummary", "noise_file", "plant"]

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class NoiseSummary:
    """What was planted: `changed` of the `labelled` responses among the `rows` written; `skipped` were malformed."""

    output: Path
    rows: int
    labelled: int
    changed: int
    skipped: int
    kind: Kind
    rate: float
    seed: int


def noise_file(
    source: Path | str,
    output: Path,
    config: Config,
    rate: float,
    kind: Kind = "symmetric",
    seed: int = 0,
    truth_column: str = "truth",
    limit: int | None = None,
) -> NoiseSummary:
    """Copy a file with wrong responses planted in it, in the layout and the columns that it has.

    `truth_column` is added at the end and holds the response as it was. A planted label has the form (letter, index
    or text) of the one that it replaces. Unlabelled rows stay as they are and don't count. `limit` copies the first
    rows only. The same input, rate, kind and seed give the same file. confusable and neighbour use the config's
    embedder, in an event loop of their own: call it from a thread where one runs already. Raises DataError,
    ConfigError; see `plant` for what is planted.
    """
    if not 0.0 <= rate <= 1.0:
        raise ConfigError(f"rate: a share from 0 to 1, not {rate}")
    if kind == "truncated" and config.task.kind == "choice":
        raise ConfigError("kind: truncated cuts the response's text, and half an option is none; use confusable")
    task = make_task(config.task)
    data = config.data.model_copy(update={"path": str(source), "truth": None, "truth_path": None})
    with guarded(config.model_copy(update={"data": data})):
        rows = read(data, task, limit)
        if truth_column in columns_of([example.source for example in rows.examples]):
            message = "is there already; choose another name for the truth's column"
            raise DataError(message, path=source, field=truth_column)
        embed = partial(_embed_now, config, task)
        planted = _planted(rows.examples, task, rate, kind, seed, embed)
    layout = rows.layout
    written = [
        {
            **(example.source if value is None else with_response(example.source, layout, data, value)),
            truth_column: example.response,
        }
        for example, value in zip(rows.examples, planted, strict=True)
    ]
    write_rows(output, written)
    labelled = sum(example.response is not None for example in rows.examples)
    changed = sum(value is not None for value in planted)
    return NoiseSummary(output, len(written), labelled, changed, len(rows.skipped), kind, rate, seed)


def _planted(
    examples: Sequence[Example], task: Task, rate: float, kind: Kind, seed: int, embed: Embed
) -> list[str | None]:
    """Return each row's wrong response as it is written; None where the row stays as it is."""
    labelled = [(row, example) for row, example in enumerate(examples) if example.response is not None]
    values = [given(example, task) or "" for _, example in labelled]
    names = [letters(len(example.options)) for _, example in labelled]
    choices = [name if value in name else () for name, value in zip(names, values, strict=True)]
    wrong = _confusions([example for _, example in labelled], values, choices, task, kind, seed, embed)
    # an open answer is taken over as its own row gives it: a normalised text would tell which rows are wrong
    as_given = {value: example.response for value, (_, example) in zip(values, labelled, strict=True)}
    written: list[str | None] = [None] * len(examples)
    for place, new in plant(values, choices, rate, kind, seed, task.agree, wrong).items():
        row, example = labelled[place]
        if kind == "truncated":
            written[row] = new
        else:
            written[row] = task.write(new, example.response, example.options) if choices[place] else as_given[new]
    return written


def _confusions(
    examples: Sequence[Example],
    values: Sequence[str],
    choices: Sequence[Sequence[str]],
    task: Task,
    kind: Kind,
    seed: int,
    embed: Embed,
) -> list[str | None] | None:
    """Return what each row would get by a kind that doesn't draw it; None for the kinds that do."""
    responses = [example.response or "" for example in examples]
    match kind:
        case "symmetric" | "asymmetric":
            return None
        case "truncated":
            return halves(responses, values, task.label, task.agree)
        case "neighbour":
            vectors = embed([example.asked for example in examples])
            return nearest_values(vectors, values, partial(_could_have, values, choices, task), seed)
        case "confusable" if not any(choices):
            return nearest_values(embed(responses), values, partial(_could_have, values, choices, task), seed)
        case "confusable" if len({example.options for example in examples}) == 1:
            return nearest_class(values, embed([example.asked for example in examples]), seed)
        case "confusable":
            texts = list(dict.fromkeys(option for example in examples for option in example.options))
            vector_of = dict(zip(texts, embed(texts), strict=True))
            options = [np.array([vector_of[option] for option in example.options]) for example in examples]
            return nearest_option(values, choices, options, seed)


def _could_have(values: Sequence[str], choices: Sequence[Sequence[str]], task: Task, row: int, value: str) -> bool:
    """Whether a row could be given another row's value by mistake: it names one of its options, or doesn't agree."""
    return value in choices[row] if choices[row] else not task.agree(value, values[row])


def _embed_now(config: Config, task: Task, texts: Sequence[str]) -> NDArray[np.float32]:
    return asyncio.run(_embed(config, task, texts))


async def _embed(config: Config, task: Task, texts: Sequence[str]) -> NDArray[np.float32]:
    # the rows are for the scripted model, which no embedder opens
    async with Models(config, task, list) as models:
        return await (await models.embedder()).embed(texts)
