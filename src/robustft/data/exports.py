"""Training files in the formats that LLaMA-Factory, TRL and axolotl load as they are, re-read before they count."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from robustft.config import DataConfig, ExportConfig, Format
from robustft.data import cells
from robustft.data.cells import RowError
from robustft.data.files import file_rows, plain
from robustft.data.formats import LOADER_COLUMNS, OWN_COLUMNS, Keys, Shape, keys_of, llamafactory_entry
from robustft.data.layouts import Turns, to_turns
from robustft.data.recipes import HEAD, Recipe, recipes
from robustft.data.writing import columns_of, write_rows
from robustft.errors import DataError
from robustft.records import Message
from robustft.run import write_atomically

_TYPED_TOGETHER = 8_192


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


def write_exports(folder: Path, rows: Rows, config: ExportConfig, name: str, recipe: Recipe) -> list[Path]:
    """Write the rows in every format that the config names, and tell the trainers of the files.

    Writes `NAME_FORMAT.jsonl` (or .json), with `preferences` also `NAME_FORMAT_preferences.jsonl`; an entry for each
    in `dataset_info.json` (LLaMA-Factory), beside the entries that are there; and the recipe as each trainer takes it
    (`data.recipes`). A row has the format's keys, its id, and the columns of its source in their order. In its own
    format it keeps its own fields, and only the response is another; a source column is renamed `source_NAME` where a
    trainer would take it for something else. prompt-completion is plain text where the source was, else lists of
    messages.

    Returns the files written. Raises DataError for turns that no format holds, a file that doesn't read back as what
    was meant, and files of the same names that aren't ours.
    """
    for row in rows:
        _check_row(row)
    pairs = _Pairs(rows)
    parts = [_Part(folder / f"{name}_{form}.{config.file_type}", _shape(form, rows), rows) for form in config.formats]
    if config.preferences:
        parts += [
            _Part(folder / f"{name}_{form}_preferences.{config.file_type}", _shape(form, pairs, pairs=True), pairs)
            for form in config.formats
        ]
    info = folder / "dataset_info.json"
    told = recipes(folder, [(part.shape, part.path) for part in parts if part.any], recipe)
    _check_ours(told)
    texts = {info: _dataset_info(info, parts), **told}
    for part in parts:
        _write_part(part)
    for path, text in texts.items():
        _write_text(path, text)
    return [*(part.path for part in parts), *texts]


def _check_ours(paths: Collection[Path]) -> None:
    for path in paths:
        if path.exists() and not path.read_text(encoding="utf-8").startswith(HEAD):
            raise DataError("was not written by robustft; move it away", path=path)


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of the export."""

    path: Path
    shape: Shape
    rows: Rows

    @property
    def any(self) -> bool:
        """Whether there is a row in it."""
        return next(iter(self.rows), None) is not None

    def contents(self, mixed: frozenset[str]) -> Iterator[Keys]:
        """Yield the file's rows, with JSON text in the `mixed` columns, which neither Arrow nor a trainer reads."""
        for row in self.rows:
            content = _file_row(row, self.shape)
            for column in mixed & content.keys():
                if content[column] is not None and not isinstance(content[column], str):
                    content[column] = json.dumps(content[column])
            yield content


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The rows whose response replaced another one that can be told apart from it."""

    rows: Rows

    def __iter__(self) -> Iterator[TrainRow]:
        for row in self.rows:
            if row.rejected is not None and row.rejected.strip() not in ("", row.response.strip()):
                yield row


def _check_row(row: TrainRow) -> None:
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


def _shape(form: Format, rows: Rows, *, pairs: bool = False) -> Shape:
    system, history, plain = False, False, None
    for row in rows:
        system = system or row.messages[0]["role"] == "system"
        history = history or any(turn["role"] == "assistant" for turn in row.messages)
        if form == "prompt-completion" and plain is not False:
            plain = _asks_in_plain_text(row)
    return Shape(form, pairs, system=system, history=history, plain=bool(plain))


def _asks_in_plain_text(row: TrainRow) -> bool:
    return _keeps_own(row, "prompt-completion") and row.source["prompt"] == row.messages[-1]["content"]


def _keeps_own(row: TrainRow, form: Format) -> bool:
    """Whether the source is in this very format and asks what the row asks."""
    try:
        return to_turns(row.source, form, DataConfig()).messages == row.messages
    except RowError:
        return False


def _file_row(row: TrainRow, shape: Shape) -> Keys:
    """Return the row of the file: the format's keys, the id, the columns of the source."""
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
    values = {names[column]: plain(row.source[column]) for column in names} | own
    order = [*names.values(), *own] if kept else [*own, *names.values()]
    return {column: values[column] for column in order}


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


def _write_part(part: _Part) -> None:
    """Write the file, and read it again to see that it says what was meant."""
    types = _Types()
    mixed: frozenset[str] = frozenset()
    write_rows(part.path, types.watched(part.contents(mixed)))
    if mixed := types.mixed() - OWN_COLUMNS[part.shape.format]:
        write_rows(part.path, part.contents(mixed))
    for number, (row, content, found) in enumerate(
        zip_longest(part.rows, part.contents(mixed), file_rows(part.path)), 1
    ):
        if found is None or content is None or found.problem or [*found.values.items()] != [*content.items()]:
            raise _broken(part, number, "it was written")
        if not part.shape.pairs and to_turns(found.values, part.shape.format, DataConfig()) != Turns(
            row.messages, row.response
        ):
            raise _broken(part, number, "what was meant")


def _broken(part: _Part, row: int, meant: str) -> DataError:
    """Remove the file. Returns what is to be raised."""
    part.path.unlink()
    return DataError(f"doesn't read back as {meant}; please report this", path=part.path, row=row)


class _Types:
    """Finds the columns that hold several types, a few thousand rows at a time."""

    def __init__(self) -> None:
        self._found: dict[str, pa.DataType | None] = {}
        self._waiting: list[Keys] = []

    def watched(self, rows: Iterable[Keys]) -> Iterator[Keys]:
        """Yield the rows as they are."""
        for row in rows:
            self._waiting.append(row)
            if len(self._waiting) == _TYPED_TOGETHER:
                self._look()
            yield row
        self._look()

    def mixed(self) -> frozenset[str]:
        """Return the columns that no one type holds."""
        return frozenset(column for column, kind in self._found.items() if kind is None)

    def _look(self) -> None:
        for column in columns_of(self._waiting):
            if (known := self._found.get(column, pa.null())) is not None:
                self._found[column] = _joint([row.get(column) for row in self._waiting], known)
        self._waiting = []


def _joint(values: list[Any], known: pa.DataType) -> pa.DataType | None:
    """Return the type that holds values and those of a type that is known; None where there is none."""
    try:
        schemas = [pa.schema([("", kind)]) for kind in (known, pa.array(values).type)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowException, OverflowError):
        return None


def _dataset_info(path: Path, parts: Sequence[_Part]) -> str:
    """Return dataset_info.json with our entries in it. A file without rows has none: no loader takes it."""
    try:
        info = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError):
        info = None
    if not isinstance(info, dict):
        raise DataError("not a JSON object; mend it or move it away", path=path)
    for part in parts:
        key, file = part.path.stem, part.path.name
        there = info.pop(key, None)
        if there is not None and not (isinstance(there, dict) and there.get("file_name") == file):
            raise DataError(f"the entry '{key}' is of another file; export under another name", path=path)
        entry = llamafactory_entry(part.shape, file) if part.any else None
        if entry is not None:
            info[key] = entry
    return json.dumps(info, indent=2) + "\n"  # in ASCII: LLaMA-Factory opens it in the platform's encoding
