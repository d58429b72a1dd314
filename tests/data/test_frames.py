from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.data.frames import frame_of
from robustft.errors import DataError

ROWS: list[dict[str, Any]] = [
    {"q": "one", "a": "B", "n": 1},
    {"q": "two", "a": None, "n": 2},
    {"q": "three", "a": "C", "n": 3},
]

Make = Callable[[list[dict[str, Any]]], Any]
KINDS: dict[str, Make] = {
    "dicts": list,
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "arrow": pa.Table.from_pylist,
    "datasets": datasets.Dataset.from_list,
}


def dicts(table: Any) -> list[dict[str, Any]]:
    """Return a table's rows."""
    return list(frame_of(table).rows())


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_rows_come_out_as_they_are(make: Make) -> None:
    assert dicts(make(ROWS)) == ROWS


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_some_rows_with_another_cell_are_of_the_same_kind_and_the_table_is_as_before(make: Make) -> None:
    table = make(ROWS)
    found = frame_of(table).taken([0, 2], "a", {2: "A"})
    assert type(found) is type(table)
    assert dicts(found) == [ROWS[0], ROWS[2] | {"a": "A"}]
    assert dicts(table) == ROWS


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_column_of_numbers_stays_one(make: Make) -> None:
    assert dicts(frame_of(make(ROWS)).taken([0, 1], "n", {1: "3"}))[1]["n"] == 3
    assert dicts(frame_of(make(ROWS)).taken([0, 1], "n", {1: "many"}))[1]["n"] == "many"


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_table_beside_has_the_same_kind(make: Make) -> None:
    columns: dict[str, list[Any]] = {"decision": ["keep", None, "drop"], "confidence": [0.5, None, 1.0]}
    beside = frame_of(make(ROWS)).beside(columns)
    assert type(beside) is type(make(ROWS))
    expected = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    assert dicts(beside) == expected


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_nothing_taken_is_an_empty_table(make: Make) -> None:
    assert dicts(frame_of(make(ROWS)).taken([], "a", {})) == []


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20), st.data())
def test_what_is_taken_is_what_was_there(cells: list[str], data: st.DataObject) -> None:
    rows = [{"a": cell} for cell in cells]
    places = data.draw(st.lists(st.sampled_from(range(len(rows))), unique=True).map(sorted))
    for name in ("dicts", "pandas", "polars", "arrow"):
        assert dicts(frame_of(KINDS[name](rows)).taken(places, "a", {})) == [rows[place] for place in places]


def test_pandas_keeps_its_index_and_its_categories() -> None:
    table = pd.DataFrame(ROWS, index=["x", "y", "z"])
    table["a"] = pd.Categorical(["B", None, "C"], categories=["A", "B", "C"])
    found = frame_of(table).taken([0, 2], "a", {2: "A"})
    assert list(found.index) == ["x", "z"]
    assert found["a"].dtype == table["a"].dtype
    assert list(frame_of(table).taken([2], "a", {2: "D"})["a"]) == ["D"]
    assert list(frame_of(table).beside({"decision": [1, 2, 3]}).index) == ["x", "y", "z"]


def test_what_pandas_and_numpy_hold_comes_out_as_pythons() -> None:
    table = pd.DataFrame(
        {"a": [1.5, np.nan], "b": pd.array([1, None], "Int64"), "c": pd.to_datetime(["2026-01-02", None])}
    )
    first, second = dicts(table)
    assert (first["a"], first["b"]) == (1.5, 1)
    assert second == {"a": None, "b": None, "c": None}


def test_a_class_label_is_its_name_and_goes_back_to_its_number() -> None:
    features = datasets.Features({"q": datasets.Value("string"), "a": datasets.ClassLabel(names=["bad", "good"])})
    table = datasets.Dataset.from_list([{"q": "x", "a": 0}, {"q": "y", "a": 1}], features=features)
    assert [row["a"] for row in dicts(table)] == ["bad", "good"]
    found = frame_of(table).taken([0, 1], "a", {0: "good"})
    assert found.features == features
    assert found["a"] == [1, 1]
    assert found.column_names == ["q", "a"]
    with pytest.raises(DataError, match="no name of the class label"):
        frame_of(table).taken([0], "a", {0: "fair"})


def test_conversations_come_out_and_go_back() -> None:
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "B"}]
    other = [turns[0], {"role": "assistant", "content": "A"}]
    for make in KINDS.values():
        found = frame_of(make([{"messages": turns}])).taken([0], "messages", {0: other})
        assert dicts(found) == [{"messages": other}]


def test_what_is_no_table_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"collect\(\)"):
        frame_of(pl.DataFrame(ROWS).lazy())
    with pytest.raises(DataError, match="one of its splits: train"):
        frame_of(datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}))
    with pytest.raises(DataError, match="list of dicts"):
        frame_of("rows.csv")
    with pytest.raises(DataError, match="row 2"):
        dicts([{"a": 1}, ["b"]])
    with pytest.raises(DataError, match="two columns"):
        dicts(pd.DataFrame([[1, 2]], columns=["a", "a"]))
