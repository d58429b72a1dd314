from __future__ import annotations

import csv
from pathlib import Path

import pytest

from review.desks import desk_of, reviewed_run
from robustft.errors import ConfigError
from support import MakeConfig


async def test_a_row_shows_all_that_is_known_of_it(tmp_path: Path, make: MakeConfig) -> None:
    run, config = await reviewed_run(tmp_path, make)
    desk = desk_of(run, config, decisions=frozenset({"review"}))
    state, row = desk.state(), desk.row(0)
    assert (state["done"], state["next"], state["open"]) == (0, 0, False)
    assert state["rows"] == len(desk.places) > 3
    assert [c["text"] for c in row["candidates"]] == ["negative", "neutral", "positive"]
    assert sum(c["prob"] for c in row["candidates"]) == pytest.approx(1.0)
    assert [c["text"] for c in row["candidates"] if c["given"]] == [row["given"]]
    assert {vote["expert"] for vote in row["votes"]} <= {"direct", "reasoning"}
    assert "negative, neutral" not in row["messages"][0]["content"]  # the answers stand below it
    near = desk.neighbours(0)
    assert 0 < len(near) <= 3
    assert {n["response"] for n in near} <= {"negative", "neutral", "positive"}
    assert row["id"] not in {n["id"] for n in near}


async def test_verdicts_are_said_shown_and_undone(tmp_path: Path, make: MakeConfig) -> None:
    run, config = await reviewed_run(tmp_path, make)
    desk = desk_of(run, config, decisions=frozenset({"review"}))
    desk.say(1, "keep")
    desk.say(0, "drop")
    assert desk.state()["done"] == 2
    assert desk.row(0)["verdict"] == {"value": None, "text": None, "drawn": "chosen"}
    assert desk.row(1)["verdict"]["text"] == desk.row(1)["given"]
    assert desk.undo() == 0
    assert desk.row(0)["verdict"] is None
    assert desk.undo() == 1
    assert desk.undo() is None
    assert desk_of(run, config, decisions=frozenset({"review"})).state()["done"] == 0
    for what, value, part in (("answer", "Z", "can't be read"), ("answer", None, "can't be read"), ("x", "", "no ver")):
        with pytest.raises(ConfigError, match=part):
            desk.say(0, what, value)


async def test_an_open_question_takes_another_answer(tmp_path: Path, make: MakeConfig) -> None:
    with (tmp_path / "d.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer", "truth"])
        writer.writerows([f"r{i}", f"What is {i} and {i}?", "" if i == 3 else str(2 * i), 2 * i] for i in range(40))
    run, config = await reviewed_run(tmp_path, make, task={"kind": "number"})
    desk = desk_of(run, config, ids=frozenset({"r3"}))
    assert desk.state()["open"]
    with pytest.raises(ConfigError, match="no given response"):
        desk.say(0, "keep")
    desk.say(0, "answer", "$ 6.00")
    assert desk.row(0)["verdict"]["value"] == "6"
