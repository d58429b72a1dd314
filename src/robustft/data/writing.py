"""From raw rows to a file whose suffix says how: written whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustft.data.files import suffix_of
from robustft.errors import DataError
from robustft.run import write_atomically

Row = Mapping[str, Any]


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    """Write the rows as CSV, JSON, JSONL (also .gz) or Parquet, by the file's suffix; columns in their order.

    JSONL is written row by row; the others take all rows into memory.

    CSV holds lists and objects as JSON text, and nothing for None. Raises DataError for another suffix, a column that
    Parquet can't hold, or a place that can't be written to.
    """
    kind = suffix_of(path)
    try:
        if kind == ".parquet":
            table = _table(path, [*rows])
            return write_atomically(path, lambda place: pq.write_table(table, place))
        return write_atomically(path, lambda place: _write_text(place, kind, rows))
    except OSError as error:
        raise DataError(f"can't be written: {error.strerror}", path=path) from None


def _write_text(place: Path, kind: str, rows: Iterable[Row]) -> None:
    with place.open("wb") as plain, ExitStack() as opened:
        # without a name and a time stamp, so that the same rows are the same bytes
        packed = gzip.GzipFile("", "wb", fileobj=plain, mtime=0) if kind.endswith(".gz") else None
        file = plain if packed is None else opened.enter_context(packed)
        for text in _text_of(kind, rows):
            file.write(text.encode())


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the columns that occur in the rows, in the order of their first occurrence."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _text_of(kind: str, rows: Iterable[Row]) -> Iterator[str]:
    match kind.removesuffix(".gz"):
        case ".csv":
            yield from _csv([*rows])
        case ".json":
            yield json.dumps(list(rows), ensure_ascii=False, indent=2) + "\n"
        case _:
            for row in rows:
                yield json.dumps(row, ensure_ascii=False) + "\n"


def _csv(rows: Sequence[Row]) -> Iterator[str]:
    columns = columns_of(rows)
    line = io.StringIO(newline="")
    writer = csv.writer(line)  # ends lines with CR LF, without which it would leave a CR in a cell unquoted
    for cells in chain([columns], ([_csv_cell(row.get(name)) for name in columns] for row in rows)):
        writer.writerow(cells)
        yield line.getvalue().removesuffix("\r\n") + "\n"
        line.seek(0)
        line.truncate()


def _csv_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (bool, dict, list)) else value


def _table(path: Path, rows: Sequence[Row]) -> Any:
    columns = {name: [row.get(name) for row in rows] for name in columns_of(rows)}
    for name, values in columns.items():
        try:
            pa.array(values)
        except (pa.ArrowException, OverflowError):
            raise DataError("Parquet needs one type in a column; write .jsonl instead", path=path, field=name) from None
    return pa.table(columns)
