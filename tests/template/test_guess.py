from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from robustft.data.readers import read
from robustft.errors import DataError
from robustft.loading import load_config
from robustft.tasks import make_task
from robustft.template.guess import Guess, guess
from robustft.template.start import filled_in
from support import write_moods

DATA = Path(__file__).parents[2] / "examples/data"


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_what_the_sample_files_seem_to_be() -> None:
    intents = load_config(DATA.parent / "quickstart.yaml")
    shop = guess(DATA / "shop/labeled.csv")
    assert (shop.question, shop.response, shop.kind) == ("message", "intent", "choice")
    assert shop.options == tuple(sorted(intents.task.options))
    arithmetic = guess(DATA / "arithmetic.csv")
    assert (arithmetic.question, arithmetic.response, arithmetic.kind) == ("question", "answer", "number")
    passages = guess(DATA / "passages.jsonl")
    assert (passages.question, passages.response, passages.kind) == ("question", "answers", "short")


def test_options_of_their_own_make_a_choice(tmp_path: Path) -> None:
    found = guess(write_moods(tmp_path / "d.csv"))
    assert found == Guess("columns", "question", "answer", "options", "choice", (), 60)


def test_columns_without_a_known_name_are_told_by_length_and_repetition(tmp_path: Path) -> None:
    rows = [{"nr": i, "body": f"a long text number {i} " * 5, "mood": ["good", "bad"][i % 2]} for i in range(40)]
    found = guess(jsonl(tmp_path / "d.jsonl", rows))
    assert (found.question, found.response, found.options) == ("body", "mood", ("bad", "good"))


@pytest.mark.parametrize("name", ["messages", "conversations"])
def test_conversations_are_told(tmp_path: Path, name: str) -> None:
    keys = ("role", "content") if name == "messages" else ("from", "value")
    turns = [[("user", f"question {i}"), ("assistant", str(i * 37))] for i in range(30)]
    rows = [{name: [dict(zip(keys, turn, strict=True)) for turn in pair]} for pair in turns]
    found = guess(jsonl(tmp_path / "d.jsonl", rows))
    assert found.layout == ("messages" if name == "messages" else "sharegpt")
    assert found.kind == "number"


@pytest.mark.parametrize("file", ["shop/labeled.csv", "arithmetic.csv", "passages.jsonl"])
def test_the_config_that_is_written_reads_the_file(file: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(filled_in(DATA / file, guess(DATA / file)), encoding="utf-8")
    config = load_config(path)
    assert read(config.data, make_task(config.task)).skipped == []


def test_odd_names_and_values_are_quoted(tmp_path: Path) -> None:
    path = tmp_path / "odd: names.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [["text: of it", "yes"]] + [[f"some text {i}", ["no", "yes: 'it' is"][i % 2]] for i in range(20)]
        csv.writer(file).writerows(rows)
    config_file = tmp_path / "c.yaml"
    config_file.write_text(filled_in(path, guess(path)), encoding="utf-8")
    config = load_config(config_file)
    assert (config.data.question, config.data.response) == ("text: of it", "yes")
    assert config.task.options == ("no", "yes: 'it' is")


def test_a_file_without_rows_or_responses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows to look at"):
        guess(jsonl(tmp_path / "a.jsonl", []))
    with pytest.raises(DataError, match="no column looks like a response"):
        guess(jsonl(tmp_path / "b.jsonl", [{"text": "a"}, {"text": "b"}]))
