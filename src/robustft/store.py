"""Records in Parquet files, written and read a few thousand at a time, so that memory doesn't grow with the rows."""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import IO, Any, Generic, TypeVar, overload

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustft.records import Answer, Belief, Decision, Example, Relabel, Verdict

Item = TypeVar("Item")
Record = TypeVar("Record", bound=Example | Answer | Belief | Verdict | Relabel | Decision)

GROUP = 8_192
"""Records that are written, read and kept together: a row group of the file."""

_KEPT = 8
"""Groups that are kept decoded: readers of several places at once go through one each."""

_TEXT, _REAL, _COUNT = pa.string(), pa.float64(), pa.int64()
_TURNS = pa.list_(pa.struct([("role", _TEXT), ("content", _TEXT)]))
# votes and source are JSON text: their keys differ from run to run
TABLES: Mapping[type, tuple[str, pa.Schema]] = {
    Example: (
        "examples",
        pa.schema(
            {
                "id": _TEXT,
                "messages": _TURNS,
                "response": _TEXT,
                "options": pa.list_(_TEXT),
                "truth": _TEXT,
                "source": _TEXT,
            }
        ),
    ),
    Answer: (
        "answers",
        pa.schema(
            {
                "id": _TEXT,
                "expert": _TEXT,
                "text": _TEXT,
                "value": _TEXT,
                "nll": _REAL,
                "probs": pa.list_(_REAL),
                "mass": _REAL,
                "reasoning": _TEXT,
                "finish": _TEXT,
                "tokens_in": _COUNT,
                "tokens_out": _COUNT,
            }
        ),
    ),
    Belief: ("beliefs", pa.schema({"id": _TEXT, "candidates": pa.list_(_TEXT), "probs": pa.list_(_REAL)})),
    Verdict: ("verdicts", pa.schema({"id": _TEXT, "noisy": pa.bool_(), "confidence": _REAL, "reason": _TEXT})),
    Relabel: (
        "relabels",
        pa.schema({"id": _TEXT, "response": _TEXT, "reason": _TEXT, "context_ids": pa.list_(_TEXT), "nll": _REAL}),
    ),
    Decision: (
        "decisions",
        pa.schema(
            {
                "id": _TEXT,
                "decision": _TEXT,
                "response_given": _TEXT,
                "response_final": _TEXT,
                "confidence": _REAL,
                "reason": _TEXT,
                "votes": _TEXT,
            }
        ),
    ),
}
_JSON_FIELDS = {"source", "votes"}
_TUPLE_FIELDS = {"messages", "options", "candidates", "probs", "context_ids"}


class Stored(Sequence[Record], Generic[Record]):
    """The records of a Parquet file, or a stretch of them, decoded a group at a time as they are wanted.

    A file that takes this one's place later changes nothing here: the one that was opened is read.
    """

    def __init__(self, source: Path | IO[bytes], kind: type[Record]) -> None:
        self.kind = kind
        self._groups = _Groups(pq.ParquetFile(source), kind)
        self._span = range(self._groups.ends[-1] if self._groups.ends else 0)

    def __len__(self) -> int:
        return len(self._span)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Stored[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | Stored[Record]:
        """Return a record, or a stretch of them. Raises ValueError for one with gaps."""
        if isinstance(place, slice):
            if place.step not in (None, 1):
                raise ValueError("a stretch has no step; `Taken` takes records here and there")
            part = copy(self)
            part._span = self._span[place]
            return part
        return self._groups.record(self._span[place])

    def __iter__(self) -> Iterator[Record]:
        for group, within in self._groups.parts(self._span):
            yield from self._groups.decoded(group)[within]

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield some of the columns, or all, a group at a time."""
        for group, within in self._groups.parts(self._span):
            yield self._groups.file.read_row_group(group, columns)[within]


class _Groups(Generic[Record]):
    """The row groups of a file, the last few of them decoded."""

    def __init__(self, file: pq.ParquetFile, kind: type[Record]) -> None:
        self.file, self.kind = file, kind
        self.ends = list(accumulate(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)))
        self._kept: OrderedDict[int, list[Record]] = OrderedDict()

    def record(self, row: int) -> Record:
        group = bisect_right(self.ends, row)
        found: Record = self.decoded(group)[row - self.ends[group]]
        return found

    def parts(self, span: range) -> Iterator[tuple[int, slice]]:
        """Yield the groups that a span touches, and what of each lies within it."""
        start = 0
        for group, end in enumerate(self.ends):
            if start < span.stop and span.start < end:
                yield group, slice(max(span.start - start, 0), span.stop - start)
            start = end

    def decoded(self, group: int) -> list[Record]:
        if group not in self._kept:
            self._kept[group] = decoded(self.file.read_row_group(group), self.kind)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        return self._kept[group]


class Shelf(Sequence[Record], Generic[Record]):
    """Records that are read one here, one there: an Arrow file that is mapped into memory and gone with this object."""

    def __init__(self, rows: Stored[Record], folder: Path | None = None) -> None:
        self._kind = rows.kind
        self._file = tempfile.NamedTemporaryFile(dir=folder, suffix=".arrow")  # noqa: SIM115 - held as long as it is read
        with pa.ipc.new_file(self._file, TABLES[rows.kind][1]) as writer:
            for table in rows.tables():
                writer.write_table(table)
        self._file.flush()
        reader = pa.ipc.open_file(pa.memory_map(self._file.name))
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | Sequence[Record]:
        """Return a record, or those of a slice."""
        if isinstance(place, slice):
            return Taken(self, range(len(self))[place])
        row = range(len(self))[place]
        number = bisect_right(self._ends, row)
        batch = self._batches[number]
        record = batch.slice(row - self._ends[number] + len(batch), 1)
        return decoded(pa.Table.from_batches([record]), self._kind)[0]


def at_random(rows: Sequence[Record], folder: Path | None = None) -> Sequence[Record]:
    """Return the records for reading in any order: as they are where few enough are kept decoded anyway."""
    if isinstance(rows, Stored) and len(rows) > _KEPT * GROUP:
        return Shelf(rows, folder)
    return rows


class Taken(Sequence[Item], Generic[Item]):
    """Some of a sequence's items, by their places, without a copy."""

    def __init__(self, whole: Sequence[Item], places: Sequence[int] | NDArray[np.int64]) -> None:
        self._whole, self._places = whole, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Item]: ...
    def __getitem__(self, place: int | slice) -> Item | Sequence[Item]:
        """Return an item, or those of a slice."""
        if isinstance(place, slice):
            return Taken(self._whole, self._places[place])
        return self._whole[self._places[place]]

    def __iter__(self) -> Iterator[Item]:
        return (self._whole[place] for place in self._places)


class Spool(Generic[Record]):
    """Takes records one by one into a file without a name, which is gone with the last who reads it."""

    def __init__(self, kind: type[Record], folder: Path | None = None) -> None:
        self.kind = kind
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - whoever reads the records holds it
        self._writer = pq.ParquetWriter(self._file, TABLES[kind][1], compression="zstd")
        self._waiting: list[Record] = []

    def add(self, record: Record) -> None:
        """Take one more."""
        self._waiting.append(record)
        if len(self._waiting) == GROUP:
            self._flush()

    def stored(self) -> Stored[Record]:
        """Return all that was taken; nothing can be added then."""
        self._flush()
        self._writer.close()
        return Stored(self._file, self.kind)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(encoded(self._waiting, self.kind))
            self._waiting = []


def write(path: Path, kind: type[Record], parts: Iterable[Iterable[Record]]) -> None:
    """Write the records of all parts, one part after the other, to a Parquet file."""
    with pq.ParquetWriter(path, TABLES[kind][1], compression="zstd") as writer:
        for part in parts:
            for table in part.tables() if isinstance(part, Stored) else _tables(part, kind):
                writer.write_table(table)


def tables_of(rows: Sequence[Record], kind: type[Record], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some of the columns of records, a few thousand rows at a time."""
    if isinstance(rows, Stored):
        yield from rows.tables(columns)
    else:
        yield from (table.select(columns) for table in _tables(rows, kind))


def stretches(rows: Stored[Answer]) -> list[Stored[Answer]]:
    """Return the stretches of answers that one expert gave after another."""
    starts, last, row = list[int](), None, 0
    for table in rows.tables(["expert"]):
        for expert in table.column(0).to_pylist():
            if expert != last:
                starts.append(row)
                last = expert
            row += 1
    return [rows[start:end] for start, end in pairwise([*starts, row])]


def encoded(rows: Sequence[Record], kind: type[Record]) -> pa.Table:
    """Return records as a table."""
    schema = TABLES[kind][1]
    columns = [
        pa.array(_encode(field.name, [getattr(row, field.name) for row in rows]), field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def decoded(table: pa.Table, kind: type[Record]) -> list[Record]:
    """Return the records of a table."""
    columns = [_decode(name, table.column(name).to_pylist()) for name in table.column_names]
    return [kind(*values) for values in zip(*columns, strict=True)]


def _tables(rows: Iterable[Record], kind: type[Record]) -> Iterator[pa.Table]:
    left = iter(rows)
    while some := list(islice(left, GROUP)):
        yield encoded(some, kind)


def _encode(name: str, values: list[Any]) -> list[Any]:
    if name in _JSON_FIELDS:
        return [orjson.dumps(dict(value)).decode() for value in values]
    return values


def _decode(name: str, values: list[Any]) -> list[Any]:
    if name in _JSON_FIELDS:
        return [orjson.loads(value) for value in values]
    return [None if value is None else tuple(value) for value in values] if name in _TUPLE_FIELDS else values
