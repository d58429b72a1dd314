"""Whatever comes in, what comes out is a result or a line for the user: readers, extractors, config, ledger replies."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft.config import TaskConfig
from robustft.data.files import SUFFIXES
from robustft.data.readers import Reader
from robustft.errors import ConfigError, RobustFTError
from robustft.llm.codec import decode_completion, decode_scores
from robustft.loading import load_config, make_config
from robustft.tasks import make_task

TEXT = st.text(max_size=40)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUE = st.recursive(
    LEAF, lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXT, below, max_size=3), max_leaves=8
)
COLUMNS = (
    "id",
    "question",
    "answer",
    "options",
    "messages",
    "instruction",
    "output",
    "prompt",
    "completion",
    "history",
)
ROWS = st.lists(st.dictionaries(st.sampled_from(COLUMNS) | TEXT, VALUE, max_size=6), max_size=5)
TASKS = [
    TaskConfig(kind="choice", options=("no", "yes", "it depends")),
    TaskConfig(kind="choice"),
    TaskConfig(kind="number"),
    TaskConfig(kind="short"),
]


def told_in_a_line(error: RobustFTError, part: str = "") -> None:
    assert "\n" not in str(error)
    assert part in str(error)


def read_through(name: str, content: bytes, task: TaskConfig, on_bad_row: str) -> int | None:
    """Read a file of these bytes. Returns rows read and set aside, None where the file was refused in a line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        config = make_config({"data": {"path": str(path), "on_bad_row": on_bad_row}})
        reader = Reader(config.data, make_task(task))
        try:
            return sum(1 for _ in reader) + len(reader.skipped)
        except RobustFTError as error:
            told_in_a_line(error)
            return None


@given(st.sampled_from(SUFFIXES), st.binary(max_size=400), st.sampled_from(["fail", "skip"]))
def test_any_bytes_are_read_or_refused(suffix: str, content: bytes, on_bad_row: str) -> None:
    read_through(f"d{suffix}", content, TASKS[0], on_bad_row)


@given(st.text(st.sampled_from('a,"\n\r\t;\0 =AB'), max_size=80), st.sampled_from(TASKS))
def test_any_csv_is_read_or_refused(text: str, task: TaskConfig) -> None:
    read_through("d.csv", b"id,question,answer\n" + text.encode(), task, "skip")


@given(ROWS, st.sampled_from(TASKS))
@settings(max_examples=200)
def test_every_row_of_any_json_is_read_or_set_aside(rows: list[dict[str, Any]], task: TaskConfig) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    found = read_through("d.jsonl", content, task, "skip")
    assert found in (None, len(rows))


@given(st.text(max_size=300), st.sampled_from(TASKS), st.lists(TEXT, max_size=4))
def test_any_answer_is_read_or_an_abstention(text: str, task: TaskConfig, options: list[str]) -> None:
    made = make_task(task)
    for reading in ("tolerant", "strict"):
        value = made.extract(text, options, reading)
        assert value is None or isinstance(value, str)
        found = made.locate(text, options, reading)
        assert (found is None) == (value is None)
        if found is not None:
            assert 0 <= found.start <= found.end <= len(text)
    assert made.label(text, options) is None or isinstance(made.label(text, options), str)


@given(
    st.dictionaries(st.sampled_from(["task", "data", "llm", "experts", "paper", "export", "train", "seed", "x"]), VALUE)
)
def test_any_tree_is_a_config_or_a_line(tree: dict[str, Any]) -> None:
    try:
        make_config(tree)
    except ConfigError as error:
        told_in_a_line(error)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=120))
def test_any_text_is_a_config_or_a_line(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            load_config(path)
        except ConfigError as error:
            told_in_a_line(error, str(path))


@given(st.binary(max_size=200))
def test_a_damaged_reply_in_the_ledger_is_asked_again(data: bytes) -> None:
    assert decode_completion(data) is None
    assert decode_scores(data) is None


@pytest.mark.parametrize("text", ["a" * 1_000_000, "(" * 100_000, "1" * 100_000, "Answer: " * 50_000, "[" * 50_000])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_long_answer_takes_no_long_time(text: str, task: TaskConfig) -> None:
    """A regular expression that backtracks would hang here; the limit on a test's time is the runner's."""
    make_task(task).extract(text, ("no", "yes"))
