"""What must be known of all rows to train on before one of them is written; found stretch by stretch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import islice
from typing import Any

import pyarrow as pa

from robustft.config import ExportConfig, Format
from robustft.data.files import plain
from robustft.data.formats import Shape
from robustft.data.train_rows import TrainRow, asks_in_plain_text, check_row, is_pair
from robustft.data.writing import columns_of

_STRETCH = 8_192
_MIXED = {"mixed": "yes"}


@dataclass(frozen=True, slots=True)
class Traits:
    """How many rows there are, whether one has a system turn or earlier turns, and whether all ask in plain text."""

    rows: int = 0
    system: bool = False
    history: bool = False
    plain: bool = True

    def __add__(self, other: Traits) -> Traits:
        """Return the traits of both stretches."""
        return Traits(
            self.rows + other.rows,
            self.system or other.system,
            self.history or other.history,
            self.plain and other.plain,
        )

    def shape(self, form: Format, *, pairs: bool) -> Shape:
        """Return what the rows of a file of these have in common."""
        plain = form == "prompt-completion" and self.plain and self.rows > 0
        return Shape(form, pairs, system=self.system, history=self.history, plain=plain)


@dataclass(frozen=True, slots=True)
class Survey:
    """The traits of all rows, those of the preference pairs, and the types of the source's columns.

    A column's type is None where no one type holds its values: neither Arrow nor a trainer reads such a column.
    """

    rows: Traits
    pairs: Traits
    types: Mapping[str, pa.DataType | None]

    def __add__(self, other: Survey) -> Survey:
        """Return the survey of both stretches."""
        columns = dict.fromkeys([*self.types, *other.types])
        types = {name: _joint(self.types.get(name, pa.null()), other.types.get(name, pa.null())) for name in columns}
        return Survey(self.rows + other.rows, self.pairs + other.pairs, types)

    @property
    def mixed(self) -> frozenset[str]:
        """The source's columns that no one type holds."""
        return frozenset(column for column, kind in self.types.items() if kind is None)

    def packed(self) -> bytes:
        """Return it as an Arrow schema, from which `unpacked` makes it again."""
        fields = [
            pa.field(name, pa.null(), metadata=_MIXED) if kind is None else pa.field(name, kind)
            for name, kind in self.types.items()
        ]
        told = {name: json.dumps(asdict(traits)) for name, traits in (("rows", self.rows), ("pairs", self.pairs))}
        content: bytes = pa.schema(fields, metadata=told).serialize().to_pybytes()
        return content

    @classmethod
    def unpacked(cls, content: bytes) -> Survey:
        """Return the survey that was packed."""
        schema = pa.ipc.read_schema(pa.py_buffer(content))
        rows, pairs = (Traits(**json.loads(schema.metadata[name])) for name in (b"rows", b"pairs"))
        return cls(rows, pairs, {field.name: None if field.metadata else field.type for field in schema})


NOTHING = Survey(Traits(), Traits(), {})


def survey(rows: Iterable[TrainRow], config: ExportConfig) -> Survey:
    """Go through the rows once. Raises DataError for one that no format holds."""
    left = iter(rows)
    stretches = iter(lambda: list(islice(left, _STRETCH)), [])
    return reduce(Survey.__add__, (_of(stretch, config) for stretch in stretches), NOTHING)


def _of(rows: Sequence[TrainRow], config: ExportConfig) -> Survey:
    traits, pairs = Traits(), Traits()
    asks = "prompt-completion" in config.formats
    for row in rows:
        check_row(row)
        one = _traits(row, asks=asks)
        traits += one
        if is_pair(row):
            pairs += one
    sources = [{name: plain(value) for name, value in row.source.items()} for row in rows]
    types = {name: _type([source.get(name) for source in sources]) for name in columns_of(sources)}
    return Survey(traits, pairs, types)


def _traits(row: TrainRow, *, asks: bool) -> Traits:
    system = row.messages[0]["role"] == "system"
    history = any(turn["role"] == "assistant" for turn in row.messages)
    return Traits(1, system, history, plain=asks and asks_in_plain_text(row))


def _type(values: Sequence[Any]) -> pa.DataType | None:
    """Return the type that holds the values; None where there is none."""
    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError):
        return None


def _joint(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """Return the type that holds the values of both; None where there is none."""
    if one is None or other is None:
        return None
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
