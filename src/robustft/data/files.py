"""From a file or a folder to raw rows: decoded, and not yet understood."""

from __future__ import annotations

import codecs
import csv
import datetime
import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from robustft.errors import DataError

SUFFIXES = (".csv", ".json", ".jsonl", ".csv.gz", ".json.gz", ".jsonl.gz", ".parquet")

_LONGEST_CELL = 2**31 - 1  # the largest limit that csv takes on every platform
_LARGEST_INT = 2**64


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it stands in a file. `number` counts the file's data rows from 1; blank lines don't count.

    `values` are in column order, and JSON can hold them. `problem` says why the row couldn't be decoded, with the
    `field` where it is a single cell; `values` then hold what there is.
    """

    path: str
    number: int
    values: dict[str, Any]
    problem: str | None = None
    field: str | None = None


def suffix_of(path: Path) -> str:
    """Return which of SUFFIXES a file has. Raises DataError, which lists them."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise DataError(f"unknown kind of file; known: {', '.join(SUFFIXES)}", path=path)


def files_of(path: Path) -> list[Path]:
    """Return the file itself, or the folder's files that can be read, sorted by name. Raises DataError."""
    if path.is_file():
        suffix_of(path)
        return [path]
    if not path.is_dir():
        raise DataError("no such file or folder", path=path)
    files = [file for file in sorted(path.iterdir()) if file.is_file() and _holds_rows(file)]
    if not files:
        raise DataError(f"the folder has no file of rows ({', '.join(SUFFIXES)})", path=path)
    return files


def file_rows(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a file, or of a folder's files in the order of their names.

    A row that can't be decoded is yielded with its problem. Raises DataError where a whole file can't be read: it is
    damaged, not UTF-8, not rows.
    """
    for file in files_of(path):
        yield from _sound_rows(file)


def plain(value: Any) -> Any:
    """Return the value as JSON can hold it: not-a-number becomes None, dates and decimals become text.

    Raises ValueError for text that is none: with a NUL, or with half of a surrogate pair.
    """
    match value:
        case None | bool():
            return value
        case str():
            return _sound(value)
        case int():
            return value if -_LARGEST_INT < 2 * value < 2 * _LARGEST_INT else str(value)
        case float():
            return value if math.isfinite(value) else None if math.isnan(value) else str(value)
        case dict():
            return {_sound(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case bytes():
            return _sound(value.decode("utf-8", "backslashreplace"))
        case Decimal():
            return None if value.is_nan() else str(value)
        case _:
            return str(value)


def _holds_rows(file: Path) -> bool:
    # dataset_info.json is LLaMA-Factory's index of a folder
    return file.name.lower().endswith(SUFFIXES) and not file.name.startswith((".", "dataset_info."))


def _sound(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character; the file may be UTF-16, or damaged")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is no character") from None
    return text


def _sound_rows(file: Path) -> Iterator[RawRow]:
    """Yield a file's rows with plain values; a cell that has none is the row's problem."""
    try:
        for number, (values, problem) in enumerate(_decoded(file), start=1):
            sound: dict[str, Any] = {}
            field = None
            for name, value in values.items():
                try:
                    sound[_sound(name)] = plain(value)
                except ValueError as error:
                    sound[ascii(name)[1:-1]] = ascii(value)
                    problem, field = problem or str(error), field or name
            yield RawRow(str(file), number, sound, problem, field)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"can't be read: {reason}", path=file) from None


def _decoded(file: Path) -> Iterator[tuple[dict[str, Any], str | None]]:
    match suffix_of(file).removesuffix(".gz"):
        case ".csv":
            return _csv(file)
        case ".jsonl":
            return _jsonl(file)
        case ".json":
            return _json(file)
        case _:
            return _parquet(file)


def _lines(file: Path) -> Iterator[str]:
    """Yield the lines with their ends. Splits at line feeds alone, as JSONL asks for."""
    opener = gzip.open if file.suffix.lower() == ".gz" else open
    with cast(IO[bytes], opener(file, "rb")) as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise DataError("UTF-16 text; save it as UTF-8", path=file)
            try:
                yield (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"0x{line[error.start]:02x}"
                raise DataError(f"line {number} is not UTF-8 text (byte {byte}); save it as UTF-8", path=file) from None


def _csv(file: Path) -> Iterator[tuple[dict[str, Any], str | None]]:
    csv.field_size_limit(_LONGEST_CELL)  # the default, 128 KiB, is a document's length
    # strict: else a quote that is never closed would swallow the rest of the file without a word
    reader = csv.reader(_lines(file), strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise DataError(f"the header is not valid CSV: {error}", path=file) from None
    _check_header(header, file)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield {}, f"not valid CSV: {error} (look for a stray or an unclosed quote)"
            continue
        if not cells:
            continue
        if len(cells) == len(header):
            yield dict(zip(header, cells, strict=True)), None
        else:
            yield {"cells": cells}, f"{len(cells)} cells where the header has {len(header)}"


def _check_header(names: Sequence[str], file: Path) -> None:
    for place, name in enumerate(names):
        if "\0" in name:
            raise DataError("NUL characters in the header; the file may be UTF-16: save it as UTF-8", path=file)
        if name in names[:place]:
            raise DataError(f"two columns have the name '{name}'", path=file)


def _jsonl(file: Path) -> Iterator[tuple[dict[str, Any], str | None]]:
    for line in _lines(file):
        if line.strip():
            try:
                yield _json_object(_parse(line), line.strip())
            except (ValueError, RecursionError) as error:
                yield {"line": line.strip()}, f"not valid JSON: {error}"


def _json(file: Path) -> Iterator[tuple[dict[str, Any], str | None]]:
    text = "".join(_lines(file))
    if not text.strip():
        return
    try:
        rows = _parse(text)
    except (ValueError, RecursionError) as error:
        hint = "; a file with one object a line is named .jsonl" if "Extra data" in str(error) else ""
        raise DataError(f"not valid JSON: {error}{hint}", path=file) from None
    if not isinstance(rows, list):
        raise DataError("a JSON file of rows is a list of objects", path=file)
    for row in rows:
        yield _json_object(row, row)


def _parse(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: None if name == "NaN" else name)


def _json_object(row: Any, shown: object) -> tuple[dict[str, Any], str | None]:
    return (row, None) if isinstance(row, dict) else ({"line": shown}, "not a JSON object")


def _parquet(file: Path) -> Iterator[tuple[dict[str, Any], str | None]]:
    with pq.ParquetFile(file) as table:
        _check_header(table.schema_arrow.names, file)
        batches = table.iter_batches(batch_size=1024)
        for row in chain.from_iterable(_microseconds(batch).to_pylist() for batch in batches):
            yield row, None


def _microseconds(batch: Any) -> Any:
    """Return the batch with its nanosecond times cut to microseconds, which is as fine as Python's are."""
    fields = [
        field.with_type(pa.timestamp("us", field.type.tz)) if pa.types.is_timestamp(field.type) else field
        for field in batch.schema
    ]
    return batch.cast(pa.schema(fields), safe=False)
