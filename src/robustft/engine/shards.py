"""Work dealt to Parquet shards; what comes of a shard is a file beside it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustft.llm.asking import Row
from robustft.records import Answer, Example
from robustft.run import write_atomically
from robustft.store import decoded, encoded

_BESIDE = {"rows": Example, "answers": Answer}
"""What may be shown beside a row, by the name of its column."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Some rows, in a file whose name tells what is to be done with them; `done` is there once that is done."""

    rows: Path

    @property
    def number(self) -> int:
        """Its place among the shards of the same work, from 0."""
        return int(self.rows.name.partition("-")[0])

    @property
    def done(self) -> Path:
        """What came of the rows."""
        return self.rows.with_suffix(".done")

    @property
    def ledger(self) -> Path:
        """The finished calls of a shard that isn't done yet."""
        return self.rows.with_suffix(".sqlite")

    def remove(self) -> None:
        """Remove the rows and what came of them."""
        self.rows.unlink()
        self.done.unlink()


def deal(tables: Iterable[pa.Table], folder: Path, key: str) -> list[Shard]:
    """Write each table to a shard; `key` tells what is to be done with them.

    Files of other rows, or of another key, are removed, but for ledgers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = list[Shard]()
    for table in tables:
        packed = io.BytesIO()
        pq.write_table(table, packed, compression="zstd")
        content = packed.getvalue()
        digest = hashlib.sha256(key.encode() + content).hexdigest()[:16]
        shard = Shard(folder / f"{len(shards):06}-{digest}.rows")
        if not shard.rows.exists():
            write_atomically(shard.rows, partial(_fill, content))
        shards.append(shard)
    wanted = {path for shard in shards for path in (shard.rows, shard.done)}
    for path in folder.iterdir():
        if path not in wanted and path.suffix in {".rows", ".done"}:
            path.unlink()
    return shards


def tables_of_rows(rows: Iterable[Row], size: int) -> Iterator[pa.Table]:
    """Yield what is asked, `size` rows at a time, as `packed_rows` does."""
    left = iter(rows)
    while some := list(islice(left, size)):
        yield packed_rows(some)


def _fill(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def packed_rows(rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table: the example's columns, and a list of what is shown beside it."""
    table = encoded([row[0] for row in rows], Example)
    beside: list[Sequence[Example] | Sequence[Answer]] = [row[1] for row in rows if len(row) == 2]
    if not beside:
        return table
    shown = list[Any]()
    for records in beside:
        shown += records
    name = "answers" if any(isinstance(record, Answer) for record in shown) else "rows"
    ends = pa.array([0, *accumulate(map(len, beside))], pa.int32())
    structs = encoded(shown, _BESIDE[name]).to_struct_array().combine_chunks()
    return table.append_column(name, pa.ListArray.from_arrays(ends, structs))


def unpacked_rows(table: pa.Table) -> Iterator[Row]:
    """Yield the rows of a table that `packed_rows` made."""
    name = table.column_names[-1]
    if name not in _BESIDE:
        yield from ((example,) for example in decoded(table, Example))
        return
    examples = decoded(table.drop_columns([name]), Example)
    lists = table.column(name).combine_chunks()
    shown: list[Any] = decoded(pa.Table.from_struct_array(lists.values), _BESIDE[name])
    for example, (start, end) in zip(examples, pairwise(lists.offsets.to_pylist()), strict=True):
        yield example, shown[start:end]
