"""Planting wrong responses at a known rate in a file of right ones, with the truth kept in a column of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from robustft.config import Config
from robustft.data.layouts import with_response
from robustft.data.readers import read
from robustft.data.writing import columns_of, write_rows
from robustft.errors import ConfigError, DataError
from robustft.records import Example
from robustft.tasks import make_task
from robustft.tasks.choice import letters
from robustft.tasks.task import Task

Kind = Literal["symmetric", "asymmetric"]

_QUICK_DRAWS = 64


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
) -> NoiseSummary:
    """Copy a file with wrong responses planted in it, in the layout and the columns that it has.

    `truth_column` is added at the end and holds the response as it was. A planted label has the form (letter, index
    or text) of the one that it replaces. Unlabelled rows stay as they are and don't count. The same input, rate, kind
    and seed give the same file. Raises DataError, ConfigError; see `plant` for what is planted.
    """
    if not 0.0 <= rate <= 1.0:
        raise ConfigError(f"rate: a share from 0 to 1, not {rate}")
    task = make_task(config.task)
    data = config.data.model_copy(update={"path": str(source), "truth": None, "truth_path": None})
    rows = read(data, task)
    if truth_column in columns_of([example.source for example in rows.examples]):
        raise DataError("is there already; choose another name for the truth's column", path=source, field=truth_column)
    planted = _planted(rows.examples, task, rate, kind, seed)
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


def plant(
    values: Sequence[str],
    choices: Sequence[Sequence[str]],
    rate: float,
    kind: Kind = "symmetric",
    seed: int = 0,
    agree: Callable[[str, str], bool] = str.__eq__,
) -> dict[int, str]:
    """Choose rows to corrupt, and a wrong value for each: exactly round(rate * n) of the n rows, without replacement.

    Args:
        values: the right value of each row.
        choices: all values that each row could have; empty for a row with an open answer.
        rate: the share of rows, 0 to 1.
        kind: symmetric: another of the row's choices, each as likely; for an open answer, the value of another row that
            doesn't agree with it, each such row as likely. asymmetric: the row's next choice, after the last the first.
        seed: the same seed draws the same rows and values; a higher rate with it adds to those of a lower one.
        agree: whether two values are the same answer.

    Returns:
        {row: wrong value}, rows ascending from 0.

    Raises:
        ConfigError: asymmetric noise for open answers.
        DataError: all rows have the same answer, so that there is no wrong one to take.
    """
    order = np.random.default_rng(seed).permutation(len(values))
    rows = sorted(order[: round(rate * len(values))].tolist())
    return {row: _wrong_value(row, values, choices[row], kind, seed, agree) for row in rows}


def _wrong_value(
    row: int, values: Sequence[str], choices: Sequence[str], kind: Kind, seed: int, agree: Callable[[str, str], bool]
) -> str:
    if kind == "asymmetric":
        if not choices:
            raise ConfigError("kind: asymmetric noise goes to the next option, and these rows have none; use symmetric")
        return choices[(choices.index(values[row]) + 1) % len(choices)]
    draw = np.random.default_rng((seed, row))
    if choices:
        others = [choice for choice in choices if choice != values[row]]
        return others[int(draw.integers(len(others)))]
    # rows that agree are rare as a rule, so that a few draws find another answer without a look at every row
    for other in map(int, draw.integers(len(values), size=_QUICK_DRAWS)):
        if not agree(values[other], values[row]):
            return values[other]
    others = [value for value in values if not agree(value, values[row])]
    if not others:
        raise DataError("all rows have the same answer; there is no wrong one to plant")
    return others[int(draw.integers(len(others)))]


def _planted(examples: Sequence[Example], task: Task, rate: float, kind: Kind, seed: int) -> list[str | None]:
    """Return each row's wrong response as it is written; None where the row stays as it is."""
    labelled = [(row, example) for row, example in enumerate(examples) if example.response is not None]
    values = [task.label(example.response or "", example.options) or "" for _, example in labelled]
    names = [letters(len(example.options)) for _, example in labelled]
    choices = [name if value in name else () for name, value in zip(names, values, strict=True)]
    # an open answer is taken over as its own row gives it: a normalised text would tell which rows are wrong
    as_given = {value: example.response for value, (_, example) in zip(values, labelled, strict=True)}
    written: list[str | None] = [None] * len(examples)
    for place, wrong in plant(values, choices, rate, kind, seed, task.agree).items():
        row, example = labelled[place]
        written[row] = task.write(wrong, example.response, example.options) if choices[place] else as_given[wrong]
    return written
