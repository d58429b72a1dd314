from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft.config import DataConfig
from robustft.data.readers import Conflict, Reader, Rows, find_conflicts, read, read_reviewed, stamp
from robustft.errors import ConfigError, DataError
from robustft.records import Example, Message
from robustft.tasks.choice import ChoiceTask
from robustft.tasks.number import NumberTask
from robustft.tasks.short import ShortTask
from robustft.tasks.task import Task
from support import SHARED_DATA

MOOD: Any = ["bad", "fine", "good"]
CHOICE = ChoiceTask()


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path, *rows: dict[str, Any], task: Task = CHOICE, limit: int | None = None, **data: Any) -> Rows:
    return read(DataConfig(path=str(jsonl(path / "rows.jsonl", *rows)), **data), task, limit)


def test_a_row_of_columns(tmp_path: Path) -> None:
    row = {"note": {"by": "me"}, "id": 7, "question": "How?", "answer": "good", "options": MOOD, "truth": 2}
    rows = read_rows(tmp_path, row, truth="truth")
    asked = (Message(role="user", content="How?"),)
    assert rows.examples == [Example("7", asked, "good", ("bad", "fine", "good"), "2", row)]
    assert list(rows.examples[0].source) == list(row)
    assert (rows.layout, rows.skipped, rows.conflicts) == ("columns", [], [])


def test_an_empty_response_is_unlabelled(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('question,answer,options\nHow?,,"[""a"", ""b""]"\nWhy?,B,"[""a"", ""b""]"\n')
    rows = read(DataConfig(path=str(path)), CHOICE)
    assert [example.response for example in rows.examples] == [None, "B"]


def test_options_come_from_the_row_or_else_from_the_task(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "1", "answer": "A", "options": ["x", "y"]},
        {"question": "2", "answer": "C", "options": None},
        {"question": "3", "answer": "C"},
    ]
    examples = read_rows(tmp_path, *rows, task=ChoiceTask(options=("a", "b", "c"))).examples
    assert [example.options for example in examples] == [("x", "y"), ("a", "b", "c"), ("a", "b", "c")]


def test_several_accepted_answers(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "1", "answer": ["NYC", "New York"]},
        {"question": "2", "answer": "a | b"},
    ]
    assert [e.response for e in read_rows(tmp_path, *rows, task=ShortTask()).examples] == ["NYC | New York", "a | b"]


GOOD: dict[str, Any] = {"question": "How?", "answer": "A", "options": MOOD}


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (GOOD | {"answer": "Z"}, "answer", "'Z' can't be read as one of the options 'bad', 'fine', 'good'"),
        (GOOD | {"answer": 3}, "answer", "'3' can't be read"),
        (GOOD | {"answer": ["A", "B"]}, "answer", "can't be read"),
        (GOOD | {"answer": {"A": 1}}, "answer", "text or a number"),
        (GOOD | {"question": ""}, "question", "the question is empty"),
        (GOOD | {"options": ["one"]}, "options", "only one option"),
        (GOOD | {"options": ["a", "a"]}, "options", "occurs twice"),
        (GOOD | {"truth": "Z"}, "truth", "'Z' can't be read"),
        (GOOD | {"id": ["a"]}, "id", "text or a number"),
        (GOOD | {"id": "first"}, "id", "id 'first' is that of row 1 already"),
        ({"question": "How?", "options": MOOD}, "answer", "no such column"),
        ({"answer": "A"}, "question", "no such column"),
    ],
)
@pytest.mark.parametrize("repeats", [1, 3])
def test_malformed_rows_are_named(tmp_path: Path, row: dict[str, Any], field: str, reason: str, repeats: int) -> None:
    first = GOOD | {"id": "first", "truth": "A"}
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path, first, *[{"truth": "A"} | row] * repeats, truth="truth")
    path = str(tmp_path / "rows.jsonl")
    assert (caught.value.path, caught.value.row, caught.value.field) == (path, 2, field)
    assert reason in str(caught.value)
    assert ("2 more malformed" in str(caught.value)) == (repeats == 3)
    assert "data.on_bad_row: skip" in str(caught.value)
    rows = read_rows(tmp_path, first, *[{"truth": "A"} | row] * repeats, truth="truth", on_bad_row="skip")
    assert [example.id for example in rows.examples] == ["first"]
    assert [(s.path, s.row, s.field) for s in rows.skipped] == [(path, n, field) for n in range(2, 2 + repeats)]
    assert rows.skipped[0].source == {"truth": "A"} | row


def test_a_file_of_malformed_rows_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 1"):
        read_rows(tmp_path, GOOD | {"answer": "Z"}, on_bad_row="skip")


def test_rows_are_read_one_by_one_as_they_are_all_at_once(tmp_path: Path) -> None:
    beside = jsonl(tmp_path / "truth.jsonl", *[GOOD] * 5)
    path = jsonl(tmp_path / "rows.jsonl", GOOD, GOOD | {"answer": "Z"}, GOOD | {"id": "own"}, {"broken": 1}, GOOD)
    data = DataConfig(path=str(path), truth_path=str(beside), on_bad_row="skip")
    whole, reader = read(data, CHOICE), Reader(data, CHOICE)
    examples = iter(reader)
    assert next(examples) == whole.examples[0]
    assert (reader.layout, reader.skipped) == ("columns", [])
    assert next(examples) == whole.examples[1]
    assert [skipped.row for skipped in reader.skipped] == [2]
    assert list(examples) == whole.examples[2:]
    assert reader.skipped == whole.skipped
    assert [(skipped.row, skipped.field) for skipped in reader.skipped] == [(2, "answer"), (4, "question")]


def test_bad_rows_are_said_after_the_last_row(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", GOOD | {"answer": "Z"}, GOOD, GOOD | {"answer": "Y"})
    reader = Reader(DataConfig(path=str(path)), CHOICE)
    examples = iter(reader)
    assert next(examples).response == "A"
    with pytest.raises(DataError, match=r"row 1, column 'answer': .* \(1 more malformed"):
        next(examples)


def test_the_file_is_read_as_far_as_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'question,answer,options\nHow?,A,"[""a"", ""b""]"\n\xff\n')
    examples = iter(Reader(DataConfig(path=str(path)), CHOICE))
    assert next(examples).response == "A"
    with pytest.raises(DataError, match="line 3 is not UTF-8 text"):
        next(examples)


def test_the_layout_is_not_known_before_a_row_is(tmp_path: Path) -> None:
    reader = Reader(DataConfig(path=str(jsonl(tmp_path / "rows.jsonl"))), CHOICE)
    for look in (lambda: reader.layout, lambda: list(reader)):
        with pytest.raises(DataError, match="has no rows"):
            look()


@pytest.mark.parametrize("content", ["", "question,answer\n"])
def test_no_rows(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(DataError, match="has no rows"):
        read(DataConfig(path=str(path)), CHOICE)


def test_limit_takes_the_first_rows(tmp_path: Path) -> None:
    rows = [GOOD | {"id": n} for n in range(5)]
    assert [e.id for e in read_rows(tmp_path, *rows, {"broken": 1}, limit=3).examples] == ["0", "1", "2"]


def test_ids_from_content_survive_a_relabel(tmp_path: Path) -> None:
    before = [e.id for e in read_rows(tmp_path, GOOD, GOOD, GOOD | {"question": "What?"}).examples]
    relabelled = [GOOD | {"answer": "C"}, GOOD | {"answer": "bad", "note": 1}, GOOD | {"question": "What?"}]
    assert [e.id for e in read_rows(tmp_path, *relabelled).examples] == before
    assert before[1] == f"{before[0]}-2"
    assert len(set(before)) == 3
    other = [e.id for e in read_rows(tmp_path, GOOD | {"options": ["x", "y"]}).examples]
    assert other[0] not in before


def test_id_columns(tmp_path: Path) -> None:
    rows = [GOOD | {"key": "a", "id": "x"}, GOOD | {"key": 2.0, "id": "x"}]
    assert [e.id for e in read_rows(tmp_path, *rows, id="key").examples] == ["a", "2"]
    with pytest.raises(DataError, match=r"row 1, column 'key': the id is empty"):
        read_rows(tmp_path, GOOD | {"key": ""}, id="key")
    made, kept = read_rows(tmp_path, GOOD | {"id": None}, GOOD | {"id": "x"}).examples
    assert (len(made.id), kept.id) == (12, "x")


def test_ids_are_unique_over_a_folder(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        jsonl(tmp_path / name, GOOD | {"id": 1})
    with pytest.raises(DataError, match=r"b\.jsonl, row 1, column 'id': id '1' is that of row 1 of .*a\.jsonl already"):
        read(DataConfig(path=str(tmp_path)), CHOICE)


def test_conflicts(tmp_path: Path) -> None:
    rows = read_rows(
        tmp_path,
        GOOD | {"id": 1},
        GOOD | {"id": 2, "question": "What?"},
        GOOD | {"id": 3, "question": " how? ", "answer": "bad"},
        GOOD | {"id": 4, "question": "what?", "answer": "c"},
        GOOD | {"id": 5, "question": "HOW?", "answer": None},
        GOOD | {"id": 6, "question": "What?", "answer": "B", "options": ["x", "y"]},
    )
    assert rows.conflicts == [Conflict(("2", "4"), ("A", "c"))]


def test_conflicts_follow_the_task() -> None:
    def example(name: str, response: str) -> Example:
        return Example(name, (Message(role="user", content="How many?"),), response)

    same = [example("1", "1,000"), example("2", "1000.0"), example("3", "$1000")]
    assert find_conflicts(same, NumberTask()) == []
    other = [*same, example("4", "1001")]
    assert find_conflicts(other, NumberTask()) == [Conflict(("1", "2", "3", "4"), ("1,000", "1000.0", "$1000", "1001"))]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("AB")), max_size=12))
def test_conflicts_are_the_groups_with_two_values(pairs: list[tuple[str, str]]) -> None:
    examples = [Example(str(n), (Message(role="user", content=q),), a, ("x", "y")) for n, (q, a) in enumerate(pairs)]
    expected = {q for q, _ in pairs if len({a for p, a in pairs if p == q}) > 1}
    found = find_conflicts(examples, CHOICE)
    assert {pairs[int(c.ids[0])][0] for c in found} == expected
    assert all(c.responses == tuple(pairs[int(i)][1] for i in c.ids) for c in found)
    assert all(len(c.ids) == sum(q == pairs[int(c.ids[0])][0] for q, _ in pairs) for c in found)


def test_truth_beside(tmp_path: Path) -> None:
    truth = jsonl(tmp_path / "truth.jsonl", GOOD | {"answer": "C"}, {**GOOD, "question": "what? ", "answer": None})
    rows = read_rows(tmp_path, GOOD, GOOD | {"question": "What?"}, truth_path=str(truth))
    assert [(e.response, e.truth) for e in rows.examples] == [("A", "C"), ("A", None)]


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ([GOOD], r"rows\.jsonl, row 2: has no such row in .*truth\.jsonl"),
        ([GOOD] * 3, r"truth\.jsonl, row 3: has no such row in .*rows\.jsonl"),
        ([GOOD, GOOD | {"question": "Who?"}], r"truth\.jsonl, row 2: asks something else"),
        ([GOOD | {"options": MOOD[::-1]}, GOOD], r"truth\.jsonl, row 1: asks something else"),
        ([GOOD, GOOD | {"answer": "Z"}], r"truth\.jsonl, row 2, column 'answer': 'Z' can't be read"),
    ],
)
def test_truth_must_match(tmp_path: Path, truth: list[dict[str, Any]], message: str) -> None:
    beside = jsonl(tmp_path / "truth.jsonl", *truth)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path, GOOD, GOOD, truth_path=str(beside))
    assert len(read_rows(tmp_path, GOOD, limit=1, truth_path=str(jsonl(beside, GOOD)), on_bad_row="skip").examples) == 1


def test_with_limit_the_truth_is_compared_so_far(tmp_path: Path) -> None:
    truth = jsonl(tmp_path / "truth.jsonl", GOOD, GOOD | {"question": "Who?"}, GOOD)
    assert len(read_rows(tmp_path, GOOD, GOOD, limit=1, truth_path=str(truth)).examples) == 1


def test_a_skipped_row_skips_its_truth(tmp_path: Path) -> None:
    truth = jsonl(tmp_path / "truth.jsonl", GOOD, GOOD | {"answer": "B"}, GOOD | {"answer": "C"})
    rows = read_rows(tmp_path, GOOD, GOOD | {"answer": "Z"}, GOOD, truth_path=str(truth), on_bad_row="skip")
    assert [e.truth for e in rows.examples] == ["A", "C"]


def test_keys_that_are_missing_or_contradict(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.path: not set"):
        read(DataConfig(), CHOICE)
    with pytest.raises(ConfigError, match="set only one"):
        read_rows(tmp_path, GOOD, truth="truth", truth_path="x.csv")
    with pytest.raises(DataError, match=r"rows\.jsonl: no known layout has the columns a, b"):
        read_rows(tmp_path, {"a": 1, "b": 2})


def test_stamp_tells_a_change(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", GOOD)
    data = DataConfig(path=str(path))
    before = stamp(data)
    assert stamp(data) == before
    jsonl(path, GOOD | {"answer": "B"})
    assert stamp(data) != before
    assert stamp(DataConfig(path="hf://me/mine")) == ["hf://me/mine"]


@pytest.mark.parametrize(("name", "n", "options"), [("fpb", 1585, 3), ("arc", 1778, 4)])
def test_real_files(name: str, n: int, options: int) -> None:
    folder = SHARED_DATA / name
    if not folder.exists():
        pytest.skip("the real data sets are not beside this checkout")
    noisy, truth = folder / "noisy" / "noisy30.csv", folder / "labeled.csv"
    rows = read(DataConfig(path=str(noisy), truth_path=str(truth)), CHOICE)
    assert (len(rows.examples), rows.skipped) == (n, [])
    wrong = sum(e.response != e.truth for e in rows.examples) / n
    assert wrong == pytest.approx(0.3, abs=0.001)
    with noisy.open(encoding="utf-8", newline="") as file:
        assert [dict(e.source) for e in rows.examples] == list(csv.DictReader(file))
    assert max(len(e.options) for e in rows.examples) >= options
    assert all(len(c.ids) > 1 and len(set(c.responses)) > 1 for c in rows.conflicts)


def reviewed(folder: Path, content: str, task: Task = CHOICE, **data: Any) -> dict[str, str]:
    path = folder / "reviewed.csv"
    path.write_text(content, encoding="utf-8")
    asked = (Message(role="user", content="?"),)
    options = ("bad", "fine", "good") if task is CHOICE else ()
    examples = [Example(row, asked, None, options) for row in ("1", "r2", "r3")]
    return read_reviewed(path, DataConfig(**data), task, examples)


def test_reviewed_rows_are_values_by_id(tmp_path: Path) -> None:
    assert reviewed(tmp_path, "id,answer,note\nr3,good,sure\n1,B,\n") == {"r3": "C", "1": "B"}
    assert reviewed(tmp_path, 'id,answer\nr2,"$1,250.00"\n', NumberTask()) == {"r2": "1250"}


def test_the_answer_of_a_review_stands_in_the_response_column(tmp_path: Path) -> None:
    assert reviewed(tmp_path, "id,mood\nr3,good\n", response="mood") == {"r3": "C"}
    with pytest.raises(DataError, match=r"reviewed\.csv, row 1, column 'mood': no such column; the row has id, answer"):
        reviewed(tmp_path, "id,answer\nr3,good\n", response="mood")
    assert reviewed(tmp_path, "id,mood,answer\nr3,good,bad\n", response="mood") == {"r3": "C"}


@pytest.mark.parametrize(
    ("content", "row", "field", "reason"),
    [
        ("id,answer\nr3,good\nr9,good\n", 2, "id", "no row has the id 'r9'; examples.parquet in the run directory"),
        ("answer\ngood\n", 1, "id", "no such column; the row has answer"),
        ("id,answer\n,good\n", 1, "id", "no row has the id ''"),
        ("id,answer\nr3,good\nr3,bad\n", 2, "id", "the id 'r3' comes twice"),
        ("id,answer\nr3,splendid\n", 1, "answer", "can't be read as an answer: 'splendid'"),
        ("id,answer\nr3,\n", 1, "answer", "can't be read as an answer"),
        ("id,label\nr3,good\n", 1, "answer", "no such column; the row has id, label"),
        ("id,answer\nr3,good,more,more\n", 1, None, ""),
    ],
)
def test_a_review_that_cannot_be_used_is_named(
    tmp_path: Path, content: str, row: int, field: str | None, reason: str
) -> None:
    with pytest.raises(DataError) as caught:
        reviewed(tmp_path, content)
    path = str(tmp_path / "reviewed.csv")
    assert (str(caught.value.path), caught.value.row, caught.value.field) == (path, row, field)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_review_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        read_reviewed(tmp_path / "nowhere.csv", DataConfig(), CHOICE, [])
