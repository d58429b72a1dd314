"""Every line of outputs.jsonl: what a model wrote, and what each reading must make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustft.config import TaskConfig
from robustft.tasks import make_task

TABLE = Path(__file__).with_name("outputs.jsonl")
ROWS: list[dict[str, Any]] = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=[f"{i}-{row['text'][:30]!r}" for i, row in enumerate(ROWS, 1)])
def test_output(row: dict[str, Any]) -> None:
    task = make_task(TaskConfig(kind=row["kind"]))
    assert task.extract(row["text"], row["options"]) == row["tolerant"], row["why"]
    assert task.extract(row["text"], row["options"], "strict") == row["strict"], row["why"]


@pytest.mark.parametrize("row", [row for row in ROWS if row["tolerant"]], ids=lambda row: repr(row["text"][:30]))
def test_answer_stands_where_it_was_found(row: dict[str, Any]) -> None:
    task = make_task(TaskConfig(kind=row["kind"]))
    found = task.locate(row["text"], row["options"])
    assert found is not None
    assert task.label(row["text"][found.start : found.end], row["options"]) == found.value


def test_table_is_as_large_as_promised() -> None:
    assert len(ROWS) >= 120
    assert len({(row["kind"], row["text"], tuple(row["options"])) for row in ROWS}) == len(ROWS)
    assert {row["kind"] for row in ROWS if row["strict"]} == {"choice", "number", "short"}
