"""What a file's columns seem to mean, for a config to begin with; the user has the last word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from robustft.config import DataConfig, TaskConfig
from robustft.data import cells
from robustft.data.cells import RowError
from robustft.data.files import file_rows
from robustft.data.layouts import Layout, detect, to_turns
from robustft.errors import DataError
from robustft.tasks import make_task

LOOKED_AT = 1_000
"""Rows that are read."""
MOST_OPTIONS = 30
"""Different responses, at most, that are taken for the options of every row."""
# the likelier name first
_QUESTIONS = ("question", "prompt", "query", "input", "text", "message", "sentence", "review", "content", "instruction")
_RESPONSES = ("answer", "answers", "label", "response", "output", "target", "category", "class", "intent", "sentiment")
_OPTIONS = ("options", "choices")


@dataclass(frozen=True, slots=True)
class Guess:
    """How a file seems to be laid out, and what its responses seem to be.

    `question` and `response` are columns where the layout is `columns`, else None. `own_options`: the column that
    holds each row's options. `options`: those of every row. `rows`: how many were looked at.
    """

    layout: Layout
    question: str | None
    response: str | None
    own_options: str | None
    kind: Literal["choice", "number", "short"]
    options: tuple[str, ...]
    rows: int


def guess(path: Path) -> Guess:
    """Look at the first rows of a file or a folder. Raises DataError where it has none, or no column fits."""
    rows = [row.values for row in islice(file_rows(path), LOOKED_AT) if row.problem is None]
    if not rows:
        raise DataError("has no rows to look at", path=path)
    try:
        layout = detect(rows[0], DataConfig())
    except DataError:
        layout = "columns"
    question = response = None
    if layout == "columns":
        question, response = _columns(rows, path)
    data = DataConfig(question=question or "question", response=response or "answer")
    responses = [said for row in rows if (said := _response(row, layout, data)) is not None]
    own = next((name for name in _OPTIONS if name in rows[0]), None)
    kind, options = _kind(responses, own is not None)
    return Guess(layout, question, response, own, kind, options, len(rows))


def _columns(rows: Sequence[Mapping[str, Any]], path: Path) -> tuple[str, str]:
    """Return the question's and the response's column: by their names, else the longest text and the fewest values."""
    texts = {name: [str(row.get(name) or "") for row in rows] for name in rows[0] if name not in _OPTIONS}
    by_length = sorted(texts, key=lambda name: -sum(map(len, texts[name])))
    question = next((name for known in _QUESTIONS for name in texts if name.casefold() == known), by_length[0])
    others = [name for name in texts if name != question and len(set(texts[name])) > 1]
    by_values = sorted(others, key=lambda name: len(set(texts[name])))
    named = [name for known in _RESPONSES for name in others if name.casefold() == known]
    if not (named or by_values):
        raise DataError("no column looks like a response; name it in data.response", path=path)
    return question, (named or by_values)[0]


def _response(row: Mapping[str, Any], layout: Layout, data: DataConfig) -> str | None:
    try:
        if layout == "columns":
            return cells.answer(row.get(data.response), data.response)
        return to_turns(row, layout, data).response
    except RowError:
        return None


def _kind(responses: Sequence[str], own_options: bool) -> tuple[Literal["choice", "number", "short"], tuple[str, ...]]:
    if own_options:
        return "choice", ()
    counts = Counter(response.strip() for response in responses)
    repeated = len(counts) <= min(MOST_OPTIONS, len(responses) // 5)
    number = make_task(TaskConfig(kind="number"))
    numbers = sum(number.label(response) is not None for response in responses)
    if numbers > 0.9 * len(responses) and not repeated:
        return "number", ()
    return ("choice", tuple(sorted(counts))) if repeated else ("short", ())
