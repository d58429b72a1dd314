from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft.data.files import file_rows
from robustft.data.writing import columns_of, write_rows
from robustft.errors import DataError

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def rows(**columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    row = st.tuples(*columns.values()).map(lambda values: dict(zip(columns, values, strict=True)))
    return st.lists(row, min_size=1, max_size=5)


@settings(deadline=None)
@given(rows(**{"a": TEXTS, "b,\n": TEXTS}))
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv_reads_back(name: str, rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / name, rows)
        assert [row.values for row in file_rows(path)] == rows


@settings(deadline=None)
@given(
    rows(
        text=TEXTS,
        n=st.none() | st.integers(-(2**62), 2**62),
        items=st.lists(TEXTS, max_size=3),
        **{"é, \n": st.none() | st.booleans()},
    )
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz", "a.parquet"])
def test_other_files_read_back(name: str, rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / name, rows)
        assert [list(row.values.items()) for row in file_rows(path)] == [list(row.items()) for row in rows]


def test_csv_cells(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", [{"a": None, "b": [1, "é"], "c": True}, {"d": {"x": 1}, "a": 2.5}])
    assert path.read_text(encoding="utf-8") == 'a,b,c,d\n,"[1, ""é""]",true,\n2.5,,,"{""x"": 1}"\n'


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"a": 1}]
    first = write_rows(tmp_path / "a.jsonl.gz", rows).read_bytes()
    assert write_rows(tmp_path / "b.jsonl.gz", rows).read_bytes() == first


def test_errors_leave_the_old_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.parquet", [{"a": 1}])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"a\.parquet, column 'a': Parquet needs one type in a column"):
        write_rows(path, [{"a": 1}, {"a": "x"}])
    with pytest.raises(DataError, match="unknown kind of file"):
        write_rows(tmp_path / "a.xlsx", [{"a": 1}])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be written"):
        write_rows(tmp_path / "file" / "a.csv", [{"a": 1}])
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet", "file"]


def test_columns_of() -> None:
    assert columns_of([{"b": 1}, {"a": 1, "b": 2}, {"c": 1}]) == ["b", "a", "c"]
