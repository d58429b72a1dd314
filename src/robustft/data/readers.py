"""From the files a user has to Examples; every malformed row is named, and nothing is dropped silently."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from robustft.config import DataConfig
from robustft.data import cells
from robustft.data.cells import RowError
from robustft.data.files import RawRow, file_rows, files_of
from robustft.data.hub import PREFIX, hub_rows
from robustft.data.layouts import Layout, Turns, detect, response_column, to_turns
from robustft.errors import ConfigError, DataError
from robustft.records import Example, Message
from robustft.run import digest
from robustft.tasks.task import Task, given


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A malformed row that was set aside. `row` counts the data rows of `path` from 1; `source` is what it held."""

    path: str
    row: int
    field: str | None
    reason: str
    source: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rows that ask the same and answer differently: at least one response is wrong. `responses` belong to `ids`."""

    ids: tuple[str, ...]
    responses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """What was read: the examples in input order, the layout, the rows set aside, and the conflicts among the rest."""

    examples: list[Example]
    layout: Layout
    skipped: list[SkippedRow]
    conflicts: list[Conflict]


def read(data: DataConfig, task: Task, limit: int | None = None) -> Rows:
    """Read all rows into memory, as `Reader` does one by one. Raises as that does."""
    reader = Reader(data, task, limit)
    examples = list(reader)
    return Rows(examples, reader.layout, reader.skipped, find_conflicts(examples, task))


class Reader:
    """Reads the rows that the config names; `limit` takes the first rows only, malformed ones included.

    Iterating yields the examples in input order, once. Then `layout` and `skipped`, the malformed rows that were set
    aside, are known. Raises DataError that names file and row: for a file that can't be read, a truth file that
    doesn't match, and (with `on_bad_row: fail`) malformed rows. Raises ConfigError where keys contradict one another.
    """

    def __init__(self, data: DataConfig, task: Task, limit: int | None = None) -> None:
        if data.path is None:
            raise ConfigError("data.path: not set; name a file, a folder or hf://DATASET")
        if data.truth is not None and data.truth_path is not None:
            raise ConfigError("data.truth and data.truth_path: set only one of them")
        self.skipped: list[SkippedRow] = []
        self._data, self._task = data, task
        self._rows = _aligned(data.path, data.truth_path, limit)
        self._layout: Layout | None = None

    @property
    def layout(self) -> Layout:
        """The rows' layout. Raises DataError where there are no rows."""
        if self._layout is None:
            raise DataError("has no rows", path=self._data.path)
        return self._layout

    def __iter__(self) -> Iterator[Example]:
        ids, any_read = _Ids(self._data.id), False
        for raw, truth in self._rows:
            try:
                _check(raw)
                self._layout = self._layout or _detect(raw, self._data)
                example = _example(raw, truth, self._layout, self._data, self._task, ids)
            except RowError as error:
                place = (str(error.path), error.row or raw.number) if error.path is not None else (raw.path, raw.number)
                # where such rows end the run nobody asks for what they held
                held = raw.values if self._data.on_bad_row == "skip" else {}
                self.skipped.append(SkippedRow(*place, error.field, error.message, held))
            else:
                any_read = True
                yield example
        if self.skipped and (self._data.on_bad_row == "fail" or not any_read):
            raise _bad_rows(self.skipped)
        if self._layout is None:
            raise DataError("has no rows", path=self._data.path)


def find_conflicts(examples: Sequence[Example], task: Task) -> list[Conflict]:
    """Find the rows that ask the same and whose responses have different values, in the order of their first rows.

    The same: equal turns but for white space and case, and equal options in equal order. Unlabelled rows don't count.
    The rows are gone through twice, so that only those that ask the same are held in memory.
    """
    asked = np.fromiter((hash(_asked(e.messages, e.options)) for e in examples), np.int64, len(examples))
    _, group, sizes = np.unique(asked, return_inverse=True, return_counts=True)
    groups: dict[object, list[tuple[str, str, str]]] = {}
    for example, repeated in zip(examples, (sizes[group] > 1).tolist(), strict=True):
        if not repeated or example.response is None or (value := given(example, task)) is None:
            continue
        groups.setdefault(_asked(example.messages, example.options), []).append((example.id, example.response, value))
    return [
        Conflict(tuple(row[0] for row in group), tuple(row[1] for row in group))
        for group in groups.values()
        if any(not task.agree(a, b) for a, b in combinations(dict.fromkeys(row[2] for row in group), 2))
    ]


def read_reviewed(path: Path, data: DataConfig, task: Task, examples: Sequence[Example]) -> dict[str, str]:
    """Return the true value of each reviewed row, by id, from a file with the columns `id` and `data.response`.

    Raises DataError for a column that isn't there, an id that no row has, one that comes twice, and an answer that
    can't be read.
    """
    known = {example.id: example for example in examples}
    found: dict[str, str] = {}
    for raw in file_rows(path):
        try:
            row, value = _reviewed(raw, data.response, task, known)
            if row in found:
                raise RowError(f"the id '{row}' comes twice", field="id")
        except RowError as error:
            raise DataError(error.message, path=path, row=raw.number, field=error.field) from None
        found[row] = value
    return found


def _reviewed(raw: RawRow, column: str, task: Task, known: Mapping[str, Example]) -> tuple[str, str]:
    """Return a reviewed row's id and its true value."""
    _check(raw)
    row = cells.answer(cells.cell(raw.values, "id"), "id") or ""
    if row not in known:
        raise RowError(f"no row has the id '{row}'; examples.parquet in the run directory lists them", field="id")
    answer = cells.answer(cells.cell(raw.values, column), column)
    value = None if answer is None else task.label(answer, known[row].options)
    if value is None:
        raise RowError(f"can't be read as an answer: {cells.shown(answer or '')}", field=column)
    return row, value


def stamp(data: DataConfig, *others: Path | None) -> list[str]:
    """Return what tells whether the input has changed since: the digest of each file, or the name of a hub dataset."""
    paths = [data.path, data.truth_path, *(str(path) for path in others if path is not None)]
    return [line for path in paths if path is not None for line in _stamps(path)]


def _stamps(path: str) -> Iterator[str]:
    if path.startswith(PREFIX):
        yield path
        return
    for file in files_of(Path(path)):
        yield digest(file)


def _raw_rows(path: str) -> Iterator[RawRow]:
    return hub_rows(path) if path.startswith(PREFIX) else file_rows(Path(path))


def _aligned(path: str, truth_path: str | None, limit: int | None) -> Iterator[tuple[RawRow, RawRow | None]]:
    rows = islice(_raw_rows(path), limit)
    if truth_path is None:
        yield from ((row, None) for row in rows)
        return
    for row, truth in zip_longest(rows, islice(_raw_rows(truth_path), limit)):
        if row is None:
            raise DataError(f"has no such row in {path}, which is shorter", path=truth_path, row=truth.number)
        if truth is None:
            raise DataError(f"has no such row in {truth_path}, which is shorter", path=path, row=row.number)
        yield row, truth


def _check(raw: RawRow) -> None:
    if raw.problem is not None:
        raise RowError(raw.problem, path=raw.path, row=raw.number, field=raw.field)


def _detect(raw: RawRow, data: DataConfig) -> Layout:
    try:
        return detect(raw.values, data)
    except DataError as error:
        raise DataError(error.message, path=raw.path) from None


def _example(raw: RawRow, truth: RawRow | None, layout: Layout, data: DataConfig, task: Task, ids: _Ids) -> Example:
    turns = to_turns(raw.values, layout, data)
    options = _options(raw, data, task)
    _check_label(turns.response, options, task, response_column(layout, data))
    if truth is not None:
        right = _truth_beside(truth, turns, options, layout, data, task)
    elif data.truth is not None:
        right = cells.answer(cells.cell(raw.values, data.truth), data.truth)
        _check_label(right, options, task, data.truth)
    else:
        right = None
    row_id = ids.take(raw, turns.messages, options)
    return Example(row_id, turns.messages, turns.response, options, right, raw.values)


def _options(raw: RawRow, data: DataConfig, task: Task) -> tuple[str, ...]:
    own = cells.options(raw.values.get(data.options), data.options) if data.options else ()
    return own or task.options


def _truth_beside(
    truth: RawRow, turns: Turns, options: Sequence[str], layout: Layout, data: DataConfig, task: Task
) -> str | None:
    """Return the response of the truth file's row, which must ask what the row asks."""
    _check(truth)
    try:
        other = to_turns(truth.values, layout, data)
        if _asked(other.messages, _options(truth, data, task)) != _asked(turns.messages, options):
            raise DataError("asks something else than the same row of data.path", path=truth.path, row=truth.number)
        _check_label(other.response, options, task, response_column(layout, data))
    except RowError as error:
        raise RowError(error.message, path=truth.path, row=truth.number, field=error.field) from None
    return other.response


def _check_label(response: str | None, options: Sequence[str], task: Task, column: str) -> None:
    if response is not None and task.label(response, options) is None:
        what = f"one of the options {', '.join(map(cells.shown, options))}" if options else "an answer"
        raise RowError(f"{cells.shown(response)} can't be read as {what}", field=column)


def _asked(messages: Sequence[Message], options: Sequence[str]) -> object:
    turns = tuple((turn["role"], _normal(turn["content"])) for turn in messages)
    return turns, tuple(map(_normal, options))


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _bad_rows(skipped: Sequence[SkippedRow]) -> DataError:
    first, more = skipped[0], len(skipped) - 1
    hint = "data.on_bad_row: skip sets such rows aside"
    note = f"{more} more malformed; {hint}" if more else hint
    return DataError(f"{first.reason} ({note})", path=first.path, row=first.row, field=first.field)


@dataclass(slots=True)
class _Ids:
    """Gives every row its id: the one it has, or one made from what it asks, so that it survives a relabel."""

    column: str | None
    rows: dict[str, tuple[str, int]] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)

    def take(self, raw: RawRow, messages: Sequence[Message], options: Sequence[str]) -> str:
        column = self.column or "id"
        value = cells.cell(raw.values, column) if self.column else raw.values.get(column)
        if isinstance(value, list):
            raise RowError(f"text or a number is expected, not {cells.shown(value)}", field=column)
        own = cells.answer(value, column)
        if own is None and self.column:
            raise RowError("the id is empty", field=column)
        if own in self.rows:
            path, number = self.rows[own]
            where = "" if path == raw.path else f" of {path}"
            raise RowError(f"id {cells.shown(own)} is that of row {number}{where} already", field=column)
        row_id = own or self._from_content(messages, options)
        self.rows[row_id] = raw.path, raw.number
        return row_id

    def _from_content(self, messages: Sequence[Message], options: Sequence[str]) -> str:
        content = json.dumps([[*messages], [*options]], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        name = hashlib.sha256(content.encode()).hexdigest()[:12]
        while True:
            self.made[name] += 1
            row_id = name if self.made[name] == 1 else f"{name}-{self.made[name]}"
            if row_id not in self.rows:
                return row_id
