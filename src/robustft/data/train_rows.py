"""A row to train on, and what it is in a training file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from robustft.config import DataConfig, Format
from robustft.data import cells
from robustft.data.cells import RowError
from robustft.data.files import plain
from robustft.data.formats import LOADER_COLUMNS, OWN_COLUMNS, Keys, Shape, keys_of
from robustft.data.layouts import Turns, to_turns
from robustft.errors import DataError
from robustft.records import Message


@dataclass(frozen=True, slots=True)
class TrainRow:
    """One row to train on.

    `messages` are all turns before the response: at most one system turn, then user and assistant by turns, a user's
    last. `rejected` is the response that `response` replaced, None where it replaced none. `source` is the row as it
    came; its columns go along.
    """

    id: str
    messages: tuple[Message, ...]
    response: str
    rejected: str | None
    source: Mapping[str, Any]


class Rows(Protocol):
    """Rows to train on, which can be gone through more than once."""

    def __iter__(self) -> Iterator[TrainRow]:
        """Yield them in their order."""
        ...


def check_row(row: TrainRow) -> None:
    """Raise DataError for a row that no format holds."""
    try:
        plain([row.response, row.rejected, *(turn["content"] for turn in row.messages)])
        turns = to_turns({"messages": [*row.messages]}, "messages", DataConfig())
    except (RowError, ValueError) as error:
        reason = error.message if isinstance(error, RowError) else str(error)
        raise DataError(f"row '{row.id}' can't be exported: {reason}") from None
    if turns != Turns(row.messages, None):
        raise DataError(f"row '{row.id}' can't be exported: its turns must end with a user's, and none may be empty")
    if not row.response.strip():
        raise DataError(f"row '{row.id}' can't be exported: its response is empty")


def is_pair(row: TrainRow) -> bool:
    """Whether the row's response replaced another one that can be told apart from it."""
    return row.rejected is not None and row.rejected.strip() not in ("", row.response.strip())


def asks_in_plain_text(row: TrainRow) -> bool:
    """Whether the row came as a prompt and a completion that are texts."""
    return _keeps_own(row, "prompt-completion") and row.source["prompt"] == row.messages[-1]["content"]


def file_row(row: TrainRow, shape: Shape, mixed: Collection[str] = ()) -> Keys:
    """Return the row of the file: the format's keys, the id, the columns of the source; `mixed` ones as JSON text."""
    own = keys_of(shape, row.messages, row.response, row.rejected) | {"id": row.id}
    kept = _keeps_own(row, shape.format)
    if kept and shape.format == "alpaca":
        own |= {"instruction": row.source["instruction"] or "", "input": row.source.get("input") or ""}
    names: dict[str, str] = {}
    for column in row.source:
        if (kept and column in OWN_COLUMNS[shape.format]) or (column == "id" and _same_id(row)):
            names |= {column: column} if column in own else {}
        else:
            names[column] = _free_name(column, {*own, *row.source})
    values = {name: _value(row.source[column], as_text=column in mixed) for column, name in names.items()} | own
    order = [*names.values(), *own] if kept else [*own, *names.values()]
    return {column: values[column] for column in order}


def _value(value: Any, *, as_text: bool) -> Any:
    found = plain(value)
    return json.dumps(found) if as_text and found is not None and not isinstance(found, str) else found


def _keeps_own(row: TrainRow, form: Format) -> bool:
    """Whether the source is in this very format and asks what the row asks."""
    try:
        return to_turns(row.source, form, DataConfig()).messages == row.messages
    except RowError:
        return False


def _same_id(row: TrainRow) -> bool:
    try:
        return cells.answer(row.source["id"], "id") == row.id
    except RowError:
        return False


def _free_name(column: str, taken: Collection[str]) -> str:
    if column != "id" and column not in LOADER_COLUMNS:
        return column
    name = f"source_{column}"
    while name in taken:
        name = f"source_{name}"
    return name
