from __future__ import annotations

import datetime
import gzip
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustft.data.files import RawRow, file_rows, plain
from robustft.errors import DataError


def rows_of(path: Path, content: str | bytes) -> list[RawRow]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(file_rows(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "q,n\nwhy?,é\n"),
        ("a.csv", "\ufeffq,n\r\nwhy?,é\r\n\r\n"),
        ("a.json", '[{"q": "why?", "n": "é"}]'),
        ("a.json", '\ufeff\n[{"q": "why?", "n": "\\u00e9"}]\n'),
        ("a.jsonl", '{"q": "why?", "n": "é"}\n\n'),
        ("A.JSONL", '\ufeff{"q": "why?", "n": "é"}'),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_reads_text_files(tmp_path: Path, name: str, content: str, packed: bool) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    data = gzip.compress(content.encode()) if packed else content.encode()
    assert rows_of(path, data) == [RawRow(str(path), 1, {"q": "why?", "n": "é"})]


def test_parquet_values_become_plain(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    nanoseconds = pa.array([1_600_000_000_000_000_001], pa.timestamp("ns", "UTC"))
    columns = {
        "x": pa.array([float("nan")]),
        "when": nanoseconds,
        "day": pa.array([datetime.date(2024, 2, 29)]),
        "price": pa.array([Decimal("1.50")]),
        "list": pa.array([["a", None]]),
        "raw": pa.array([b"caf\xc3\xa9"]),
    }
    pq.write_table(pa.table(columns), path)
    (row,) = file_rows(path)
    assert row.values == {
        "x": None,
        "when": "2020-09-13T12:26:40+00:00",
        "day": "2024-02-29",
        "price": "1.50",
        "list": ["a", None],
        "raw": "café",
    }


def test_a_cell_may_be_many_megabytes_and_many_lines(tmp_path: Path) -> None:
    cell = "a line, with commas\n" * 300_000
    (row,) = rows_of(tmp_path / "a.csv", f'q,n\n"{cell}",1\n')
    assert row.values == {"q": cell, "n": "1"}
    assert row.problem is None


@pytest.mark.parametrize(
    ("name", "lines", "bad", "reason"),
    [
        ("a.csv", ["q,n", "a,1", "b", "c,3"], 2, "1 cells where the header has 2"),
        ("a.csv", ["q,n", "a,1", "b,2,3", "c,3"], 2, "3 cells where the header has 2"),
        ("a.csv", ["q,n", "a,1", '"b"x,2', "c,3"], 2, "not valid CSV"),
        ("a.csv", ["q,n", "a,1", "b,2", '"c,3'], 3, "not valid CSV"),
        ("a.csv", ["q,n", "a\0,1", "b,2"], 1, "NUL"),
        ("a.jsonl", ['{"q": 1}', '{"q": 1', '{"q": 2}'], 2, "not valid JSON"),
        ("a.jsonl", ['{"q": 1}', "[1]", '{"q": 2}'], 2, "not a JSON object"),
        ("a.jsonl", ['{"q": 1}', "[" * 100_000, '{"q": 2}'], 2, "not valid JSON"),
        ("a.jsonl", ['{"q": "\\ud83d"}'], 1, "surrogate"),
        ("a.jsonl", ['{"q": ["a", {"b": "\\u0000"}]}'], 1, "NUL"),
        ("a.json", ["[", '{"q": 1},', '"x"', "]"], 2, "not a JSON object"),
    ],
)
def test_names_the_bad_row_and_reads_on(tmp_path: Path, name: str, lines: list[str], bad: int, reason: str) -> None:
    rows = rows_of(tmp_path / name, "\n".join(lines) + "\n")
    assert [(row.number, row.problem is not None) for row in rows] == [
        (number, number == bad) for number in range(1, len(rows) + 1)
    ]
    assert reason in (rows[bad - 1].problem or "")
    assert json.dumps([row.values for row in rows], ensure_ascii=False).encode()


def test_a_bad_cell_is_named(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.csv", "q,n\na,1\0\n")
    assert row.field == "n"
    assert row.values == {"q": "a", "n": "'1\\x00'"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "q\nmüde\n".encode("latin-1"), r"line 2 is not UTF-8 text \(byte 0xfc\)"),
        ("a.csv", "q\nwhy?\n".encode("utf-16"), "UTF-16"),
        ("a.csv", "q\nwhy?\n".encode("utf-16-le"), "UTF-16"),
        ("a.csv", b"q,n,q\n1,2,3\n", "two columns have the name 'q'"),
        ("a.csv", b'"q\n', "header"),
        ("a.json", b'{"q": 1}', "a list of objects"),
        ("a.json", b'{"q": 1}\n{"q": 2}\n', "named .jsonl"),
        ("a.json", b'[{"q": 1}', "not valid JSON"),
        ("a.csv.gz", b"q\n1\n", "can't be read"),
        ("a.csv.gz", gzip.compress(b"q\n1\n" * 99, mtime=0)[:-9], "can't be read"),
        ("a.parquet", b"PAR1, but not really", "can't be read"),
        ("a.xlsx", b"", "unknown kind of file; known: .csv"),
    ],
)
def test_a_file_that_cant_be_read_is_one_clear_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        rows_of(tmp_path / name, content)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("q\n3\n")
    (tmp_path / "a.jsonl").write_text('{"q": 1}\n{"q": 2}\n')
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / ".hidden.csv").write_text("q\n4\n")
    (tmp_path / "README.md").write_text("notes")
    found = [(Path(row.path).name, row.number, row.values["q"]) for row in file_rows(tmp_path)]
    assert found == [("a.jsonl", 1, 1), ("a.jsonl", 2, 2), ("b.csv", 1, "3")]


@pytest.mark.parametrize(("name", "message"), [("nothing", "no such file or folder"), (".", "no file of rows")])
def test_nothing_to_read(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(file_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("inf"), "inf"),
        (2**64, str(2**64)),
        (2**63, 2**63),
        (Decimal("NaN"), None),
        (datetime.time(1, 2), "01:02:00"),
        ((1, {"a": float("nan")}), [1, {"a": None}]),
        ({1: b"\xff"}, {"1": "\\xff"}),
        (True, True),
    ],
)
def test_plain(value: object, expected: object) -> None:
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)


def test_json_words_for_no_number(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.jsonl", '{"a": NaN, "b": -Infinity}\n')
    assert row.values == {"a": None, "b": "-Infinity"}
