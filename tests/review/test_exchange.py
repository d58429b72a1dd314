from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from review.desks import desk_of, reviewed_run
from robustft.errors import DataError
from robustft.review.desk import Desk
from robustft.review.exchange import LEAVE_OUT, export_rows, import_verdicts
from support import MakeConfig


@pytest.fixture
async def desk(tmp_path: Path, make: MakeConfig) -> Desk:
    run, config = await reviewed_run(tmp_path, make)
    return desk_of(run, config, decisions=frozenset({"review"}))


def annotated(task: dict[str, Any], choice: str, **more: Any) -> dict[str, Any]:
    result = [{"from_name": "answer", "to_name": "question", "type": "choices", "value": {"choices": [choice]}}]
    return task | {"annotations": [{"was_cancelled": False, "result": result} | more]}


def test_label_studio_there_and_back(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    count = export_rows(desk, path, "label-studio")
    tasks = json.loads(path.read_text())
    assert len(tasks) == count == len(desk.places)
    assert [o["value"] for o in tasks[0]["data"]["options"]] == ["negative", "neutral", "positive", LEAVE_OUT]
    assert tasks[0]["predictions"][0]["result"][0]["value"]["choices"][0] in {"negative", "neutral", "positive"}
    said = [
        annotated(tasks[0], "positive"),
        annotated(tasks[1], LEAVE_OUT),
        annotated(tasks[2], "x", was_cancelled=True),
    ]
    path.write_text(json.dumps(said))
    assert import_verdicts(desk, path, "label-studio") == 2
    assert desk.row(0)["verdict"]["text"] == "positive"
    assert desk.row(1)["verdict"]["value"] is None
    assert desk.row(2)["verdict"] is None


def test_argilla_there_and_back(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    export_rows(desk, path, "argilla")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records[0]["suggestions"]["answer"]["agent"] == "robustft"
    records[0]["responses"] = {"answer": [{"value": "negative", "status": "submitted", "user_id": "u"}]}
    records[1]["responses"] = {"answer": [{"value": "negative", "status": "draft"}]}
    path.write_text("\n".join(map(json.dumps, records)))
    assert import_verdicts(desk, path, "argilla") == 1
    assert desk.row(0)["verdict"]["text"] == "negative"


def test_what_is_no_such_file_is_named_and_nothing_is_taken(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    export_rows(desk, path, "label-studio")
    good = annotated(json.loads(path.read_text())[0], "positive")
    stranger = {"data": good["data"] | {"content": "?"}, "annotations": good["annotations"]}
    cases = [
        ("{", "is no JSON"),
        ('{"a": 1}', "is no list"),
        (json.dumps([good, {"x": 1}]), "row 2: is no row that label-studio exports"),
        (json.dumps([good, stranger]), "row 2: the run has no such row"),
        (json.dumps([good, annotated(good, "perhaps")]), "row 2: 'perhaps' can't be read"),
    ]
    for content, part in cases:
        path.write_text(content)
        with pytest.raises(DataError, match=part):
            import_verdicts(desk, path, "label-studio")
    with pytest.raises(DataError, match="can't be read"):
        import_verdicts(desk, tmp_path / "gone.json", "argilla")
    assert len(desk.verdicts) == 0
