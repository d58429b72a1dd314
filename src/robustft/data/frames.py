"""Tables that live in memory: rows out of them, and tables of the same kind back."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from robustft.data.cells import shown
from robustft.errors import DataError

Columns = Mapping[str, Sequence[Any]]


class Frame(Protocol):
    """A table of one of the kinds that `frame_of` knows. Places count its rows from 0."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows, in column order, a missing cell as None. Raises DataError."""
        ...

    def beside(self, columns: Columns) -> Any:
        """Return a table of the same kind with these columns, a row for each of this one's."""
        ...

    def taken(self, places: Sequence[int], column: str, changes: Mapping[int, Any]) -> Any:
        """Return the rows at these places; at some of them the column's cell is another. The table stays as it is."""
        ...


def frame_of(table: object) -> Frame:
    """Return a list of dicts, or a table of pandas, polars, pyarrow or `datasets`, as a Frame.

    Raises DataError for anything else, with the way out where it is near to one of these.
    """
    # a table is there only where its library is imported, so that none is imported for the question
    if isinstance(table, list | tuple):
        return Dicts(table)
    if isinstance(table, pa.Table):
        return ArrowFrame(table)
    if _is(table, "pandas", "DataFrame"):
        return PandasFrame(table)
    if _is(table, "polars", "DataFrame"):
        return PolarsFrame(table)
    if _is(table, "polars", "LazyFrame"):
        raise DataError("a LazyFrame holds no rows; give its .collect()")
    if _is(table, "datasets", "Dataset"):
        return HubFrame(table)
    if _is(table, "datasets", "DatasetDict"):
        raise DataError(f"a DatasetDict; give one of its splits: {', '.join(map(str, table))}")  # type: ignore[call-overload]
    if _is(table, "datasets", "IterableDataset"):
        raise DataError("an IterableDataset can't be gone through twice; give Dataset.from_list(list(dataset))")
    kinds = "a list of dicts, a DataFrame of pandas or polars, a pyarrow.Table, or a datasets.Dataset"
    raise DataError(f"rows are {kinds}, not {type(table).__name__}; of a file, set data.path in a config")


def _is(table: object, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(table, kind)


def native(value: Any) -> Any:
    """Return a numpy value as Python has it, and the missing values of pandas as None."""
    if _is(value, "numpy", "generic") or _is(value, "numpy", "ndarray"):
        return value.tolist()
    pandas = sys.modules.get("pandas")
    return None if pandas is not None and (value is pandas.NA or value is pandas.NaT) else value


def _as_before(change: Any, cells: Sequence[Any]) -> Any:
    """Return a changed response as a column of numbers holds it, where the column holds numbers."""
    kind = type(native(next((cell for cell in cells if cell is not None), None)))
    if kind in (int, float):
        try:
            return kind(change)
        except ValueError:
            return change
    return change


class Dicts:
    """A list of dicts, which need not have the same keys."""

    def __init__(self, table: Sequence[Mapping[str, Any]]) -> None:
        self._table = table

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows; see `Frame`."""
        for number, row in enumerate(self._table, start=1):
            if not isinstance(row, Mapping):
                raise DataError(f"a row is a dict, not {shown(row)}", row=number)
            yield dict(row)

    def beside(self, columns: Columns) -> list[dict[str, Any]]:
        """Return a list of dicts; see `Frame`."""
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]

    def taken(self, places: Sequence[int], column: str, changes: Mapping[int, Any]) -> list[dict[str, Any]]:
        """Return a list of dicts, whose values are the very objects of this one; see `Frame`."""
        cells = [row.get(column) for row in self._table]
        new = {place: {column: _as_before(change, cells)} for place, change in changes.items()}
        return [{**self._table[place], **new.get(place, {})} for place in places]


class PandasFrame:
    """A pandas.DataFrame; what comes of it keeps its index."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows; see `Frame`. Raises DataError where two columns have one name."""
        names = [str(name) for name in self._table.columns]
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise DataError(f"two columns have the name '{twice[0]}'")
        columns = [self._table[name].astype(object) for name in self._table.columns]
        cells = [column.where(column.notna(), None) for column in columns]
        return (dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True))

    def beside(self, columns: Columns) -> Any:
        """Return a DataFrame with this one's index; see `Frame`."""
        import pandas as pd

        return pd.DataFrame({name: list(cells) for name, cells in columns.items()}, index=self._table.index)

    def taken(self, places: Sequence[int], column: str, changes: Mapping[int, Any]) -> Any:
        """Return a DataFrame; see `Frame`. The column keeps its type where that holds the new cells."""
        import pandas as pd

        name = next(name for name in self._table.columns if str(name) == column)
        before = self._table[name]
        sample = list(before.dropna().iloc[:1])
        cells = [_as_before(changes[place], sample) if place in changes else before.iloc[place] for place in places]
        found = self._table.iloc[list(places)].copy()
        after = pd.Series(cells, index=found.index, dtype=object)
        fits = not isinstance(before.dtype, pd.CategoricalDtype) or after.dropna().isin(before.cat.categories).all()
        try:
            found[name] = after.astype(before.dtype) if fits else after
        except (TypeError, ValueError):
            found[name] = after
        return found


class ArrowFrame:
    """A pyarrow.Table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows; see `Frame`."""
        return (row for batch in self._table.to_batches(1024) for row in batch.to_pylist())

    def beside(self, columns: Columns) -> pa.Table:
        """Return a Table; see `Frame`."""
        return pa.table({name: list(cells) for name, cells in columns.items()})

    def taken(self, places: Sequence[int], column: str, changes: Mapping[int, Any]) -> pa.Table:
        """Return a Table; see `Frame`. The column keeps its type where that holds the new cells."""
        found = self._table.take(pa.array(places, pa.int64()))
        number = found.schema.get_field_index(column)
        before = found.column(number).to_pylist()
        cells = [
            _as_before(changes[place], before) if place in changes else cell
            for place, cell in zip(places, before, strict=True)
        ]
        field = found.schema.field(number)
        try:
            return found.set_column(number, field, pa.array(cells, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            texts = [None if cell is None else str(cell) for cell in cells]
            return found.set_column(number, column, pa.array(texts, pa.string()))


class PolarsFrame:
    """A polars.DataFrame."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows; see `Frame`."""
        rows: Iterator[dict[str, Any]] = self._table.iter_rows(named=True)
        return rows

    def beside(self, columns: Columns) -> Any:
        """Return a DataFrame; see `Frame`."""
        import polars as pl

        return pl.DataFrame({name: list(cells) for name, cells in columns.items()}, infer_schema_length=None)

    def taken(self, places: Sequence[int], column: str, changes: Mapping[int, Any]) -> Any:
        """Return a DataFrame; see `Frame`. The column keeps its type where that holds the new cells."""
        import polars as pl

        found = self._table[list(places)]
        before = found[column]
        cells = [
            _as_before(changes[place], before.drop_nulls()[:1].to_list()) if place in changes else cell
            for place, cell in zip(places, before, strict=True)
        ]
        try:
            after = pl.Series(column, cells, dtype=before.dtype)
        except (TypeError, pl.exceptions.PolarsError):
            after = pl.Series(column, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)
        return found.with_columns(after)


class HubFrame:
    """A datasets.Dataset. A class label is its name, outside of the dataset."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows; see `Frame`."""
        names = {name: feature for name, feature in self._table.features.items() if hasattr(feature, "int2str")}

        def named(row: Mapping[str, Any]) -> dict[str, Any]:
            labels = {name: feature.int2str(row[name]) for name, feature in names.items() if row[name] is not None}
            return {**row, **labels}

        return map(named, self._table.with_format(None))

    def beside(self, columns: Columns) -> Any:
        """Return a Dataset; see `Frame`."""
        from datasets import Dataset

        return Dataset.from_dict({name: list(cells) for name, cells in columns.items()})

    def taken(self, places: Sequence[int], column: str, changes: Mapping[int, Any]) -> Any:
        """Return a Dataset; see `Frame`. The column keeps its feature where that holds the new cells."""
        found = self._table.with_format(None).select(places)
        feature, order = found.features[column], found.column_names
        before = list(found[column])
        cells = [
            self._cell(changes[place], feature, before) if place in changes else cell
            for place, cell in zip(places, before, strict=True)
        ]
        mended = f"{column}, mended"  # added before the other goes: a dataset without columns has no rows
        try:
            both = found.add_column(mended, cells, feature=feature)
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError):
            both = found.add_column(mended, [None if cell is None else str(cell) for cell in cells])
        return both.remove_columns(column).rename_column(mended, column).select_columns(order)

    @staticmethod
    def _cell(change: Any, feature: Any, before: Sequence[Any]) -> Any:
        if not hasattr(feature, "str2int"):
            return _as_before(change, before)
        try:
            return feature.str2int(change)
        except ValueError as error:
            raise DataError(f"{shown(change)} is no name of the class label: {error}") from None
