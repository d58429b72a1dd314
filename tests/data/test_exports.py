from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.drawn import WHY, row_of, train_rows
from robustft.config import DataConfig, ExportConfig, Format, TrainConfig
from robustft.data import exports
from robustft.data.exports import write_exports
from robustft.data.files import file_rows
from robustft.data.layouts import Turns, to_turns
from robustft.data.recipes import Recipe
from robustft.data.train_rows import TrainRow
from robustft.errors import DataError
from robustft.records import Message

FORMATS: tuple[Format, ...] = ("alpaca", "sharegpt", "messages", "prompt-completion")
ALL = ExportConfig(formats=FORMATS)
DATA = DataConfig()
RECIPE = Recipe("org/model", TrainConfig())


def written(folder: Path, *rows: TrainRow, config: ExportConfig = ALL) -> dict[str, list[dict[str, Any]]]:
    """Return {name without 'set_' and ending: the file's rows}."""
    files = [path for path in write_exports(folder, rows, config, "set", RECIPE) if path.name.startswith("set_")]
    return {path.stem.removeprefix("set_"): [row.values for row in file_rows(path)] for path in files}


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(train_rows(), min_size=1, max_size=3), file_type=st.sampled_from(["json", "jsonl"]))
def test_any_row_is_read_back_from_any_format(rows: list[TrainRow], file_type: Any) -> None:
    config = ExportConfig(formats=FORMATS, file_type=file_type, preferences=True)
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), *rows, config=config)
    for form in FORMATS:
        turns = [to_turns(values, form, DATA) for values in files[form]]
        assert turns == [Turns(row.messages, row.response) for row in rows]
        assert all(values["id"] == "1" for values in files[form])
    pairs = [row for row in rows if row.rejected and row.rejected.strip() not in ("", row.response.strip())]
    chosen = [(v["chosen"], v["rejected"]) for v in files["alpaca_preferences"]]
    assert chosen == [(row.response, row.rejected) for row in pairs]


def test_each_format(tmp_path: Path) -> None:
    files = written(tmp_path, row_of("r1"))
    so = {"role": "assistant", "content": "so"}
    assert files == {
        "alpaca": [{"instruction": "Why?", "input": "", "output": "so", "id": "r1"}],
        "sharegpt": [
            {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "so"}], "id": "r1"}
        ],
        "messages": [{"messages": [*WHY, so], "id": "r1"}],
        "prompt-completion": [{"prompt": [*WHY], "completion": [so], "id": "r1"}],
    }


def test_columns_of_the_source_go_along_in_their_order(tmp_path: Path) -> None:
    source: dict[str, Any] = {
        "z": 1,
        "question": "Why?",
        "answer": "A",
        "prompt": "old",
        "id": 7,
        "text": None,
        "a": ["x", "y"],
    }
    (row,) = written(tmp_path, row_of("7", **source))["messages"]
    assert list(row) == ["messages", "id", "z", "question", "answer", "source_prompt", "source_text", "a"]
    assert (row["z"], row["source_prompt"], row["source_text"], row["a"]) == (1, "old", None, ["x", "y"])


def test_an_id_that_is_another_is_renamed(tmp_path: Path) -> None:
    (row,) = written(tmp_path, row_of("7", id="x", source_id="y"))["messages"]
    assert {name: row[name] for name in row if name.endswith("id")} == {
        "id": "7",
        "source_source_id": "x",
        "source_id": "y",
    }


def test_a_row_keeps_its_own_alpaca_split(tmp_path: Path) -> None:
    asked = (Message(role="user", content="Ask\nWhy?"),)
    source = {"n": 1, "input": "Why?", "instruction": "Ask", "output": "old", "text": "Ask Why? old"}
    row = TrainRow("1", asked, "so", None, source)
    files = written(tmp_path, row)
    assert [*files["alpaca"][0].items()] == [
        ("n", 1),
        ("input", "Why?"),
        ("instruction", "Ask"),
        ("output", "so"),
        ("source_text", "Ask Why? old"),
        ("id", "1"),
    ]
    assert files["messages"][0]["source_output"] == "old"
    (other,) = written(tmp_path, TrainRow("1", WHY, "so", None, source))["alpaca"]
    assert (other["instruction"], other["input"], other["source_instruction"]) == ("Why?", "", "Ask")


def test_alpaca_has_system_and_history_where_a_row_needs_them(tmp_path: Path) -> None:
    talk = tuple(
        Message(role=role, content=text)
        for role, text in [("system", "Be brief."), ("user", "Hello?"), ("assistant", "Hi."), ("user", "Why?")]
    )
    first, second = written(tmp_path, TrainRow("1", talk, "so", None, {}), row_of("2"))["alpaca"]
    assert (first["system"], first["history"]) == ("Be brief.", [["Hello?", "Hi."]])
    assert (second["system"], second["history"]) == ("", [])
    entry = json.loads((tmp_path / "dataset_info.json").read_text())["set_alpaca"]
    assert (entry["columns"]["system"], entry["columns"]["history"]) == ("system", "history")
    # axolotl's alpaca type would leave both out without a word
    assert "set_alpaca" not in (tmp_path / "axolotl.yaml").read_text()


def test_plain_prompts_stay_plain(tmp_path: Path) -> None:
    files = written(tmp_path, row_of("1", " so", prompt="Why?", completion="old", n=1))
    assert files["prompt-completion"] == [{"prompt": "Why?", "completion": " so", "n": 1, "id": "1"}]
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info["set_prompt-completion"]["columns"] == {"prompt": "prompt", "response": "completion"}
    mixed = written(tmp_path, row_of("1", prompt="Why?", completion="old"), row_of("2"))["prompt-completion"]
    assert [row["prompt"] for row in mixed] == [[*WHY], [*WHY]]
    # LLaMA-Factory can't load lists there: the entry of the first export is gone with its file
    assert "set_prompt-completion" not in json.loads((tmp_path / "dataset_info.json").read_text())


def test_source_columns_of_several_types_become_text(tmp_path: Path) -> None:
    rows = [row_of("1", x=1, y=[1]), row_of("2", x="one", y=[2]), row_of("3", x=None, y=None), row_of("4", x=[True])]
    found = written(tmp_path, *rows)["messages"]
    assert [row["x"] for row in found] == ["1", "one", None, "[true]"]
    assert [row.get("y") for row in found] == [[1], [2], None, None]


def test_dataset_info_is_merged(tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    foreign = {"mine": {"file_name": "mine.json"}, "hub": {"hf_hub_url": "me/hub"}}
    info.write_text(json.dumps(foreign))
    write_exports(tmp_path, [row_of()], ExportConfig(formats=("alpaca", "messages")), "set", RECIPE)
    write_exports(tmp_path, [row_of()], ExportConfig(formats=("sharegpt", "messages")), "set", RECIPE)
    found = json.loads(info.read_text())
    assert found == foreign | {
        "set_alpaca": {
            "file_name": "set_alpaca.jsonl",
            "formatting": "alpaca",
            "columns": {"prompt": "instruction", "query": "input", "response": "output"},
        },
        "set_sharegpt": {
            "file_name": "set_sharegpt.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
            "tags": {
                "role_tag": "from",
                "content_tag": "value",
                "user_tag": "human",
                "assistant_tag": "gpt",
                "system_tag": "system",
            },
        },
        "set_messages": {
            "file_name": "set_messages.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        },
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"set_alpaca": {"file_name": "other.json"}}', "entry 'set_alpaca' is of another file"),
        ('{"set_alpaca": {"hf_hub_url": "me/hub"}}', "entry 'set_alpaca' is of another file"),
        ("[]", "not a JSON object"),
        ("{", "not a JSON object"),
    ],
)
def test_foreign_entries_are_never_overwritten(tmp_path: Path, content: str, message: str) -> None:
    info = tmp_path / "dataset_info.json"
    info.write_text(content)
    with pytest.raises(DataError, match=message):
        write_exports(tmp_path, [row_of()], ALL, "set", RECIPE)
    assert info.read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["dataset_info.json"]


@pytest.mark.parametrize("name", ["axolotl.yaml", "llamafactory_lora.yaml", "train_trl.py"])
def test_recipes_that_are_not_ours_stay(tmp_path: Path, name: str) -> None:
    write_exports(tmp_path, [row_of()], ALL, "set", RECIPE)
    assert (tmp_path / name).read_text().startswith("# Written by robustft for ")
    write_exports(tmp_path, [row_of()], ALL, "set", RECIPE)
    (tmp_path / name).write_text("mine\n")
    with pytest.raises(DataError, match=rf"{name}: was not written by robustft"):
        write_exports(tmp_path, [row_of()], ALL, "set", RECIPE)
    assert (tmp_path / name).read_text() == "mine\n"


def test_preferences(tmp_path: Path) -> None:
    rows = [row_of("1", "so", "old"), row_of("2", "so"), row_of("3", "so", "so "), row_of("4", "so", "")]
    files = written(tmp_path, *rows, config=ExportConfig(formats=FORMATS, preferences=True))
    so, old = {"role": "assistant", "content": "so"}, {"role": "assistant", "content": "old"}
    assert files["alpaca_preferences"] == [
        {"instruction": "Why?", "input": "", "chosen": "so", "rejected": "old", "id": "1"}
    ]
    assert files["sharegpt_preferences"][0]["conversations"] == [{"from": "human", "value": "Why?"}]
    assert files["sharegpt_preferences"][0]["rejected"] == {"from": "gpt", "value": "old"}
    assert files["messages_preferences"] == [{"messages": [*WHY], "chosen": so, "rejected": old, "id": "1"}]
    assert files["prompt-completion_preferences"] == [{"prompt": [*WHY], "chosen": [so], "rejected": [old], "id": "1"}]
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info["set_alpaca_preferences"] == {
        "file_name": "set_alpaca_preferences.jsonl",
        "formatting": "alpaca",
        "ranking": True,
        "columns": {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"},
    }
    assert {name for name in info if info[name].get("ranking")} == {
        "set_alpaca_preferences",
        "set_sharegpt_preferences",
        "set_messages_preferences",
    }


def test_a_file_without_rows_has_no_entry(tmp_path: Path) -> None:
    files = written(tmp_path, row_of(), config=ExportConfig(formats=("alpaca",), preferences=True))
    assert files["alpaca_preferences"] == []
    assert list(json.loads((tmp_path / "dataset_info.json").read_text())) == ["set_alpaca"]
    assert written(tmp_path)["messages"] == []
    assert json.loads((tmp_path / "dataset_info.json").read_text()) == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (TrainRow("9", (), "so", None, {}), "row '9' can't be exported: user and assistant must take turns"),
        (TrainRow("9", (*WHY, *WHY), "so", None, {}), "must take turns"),
        (TrainRow("9", (Message(role="user", content=" "),), "so", None, {}), "the question is empty"),
        (TrainRow("9", (*WHY, Message(role="assistant", content="so")), "so", None, {}), "must end with a user's"),
        (TrainRow("9", WHY, " ", None, {}), "its response is empty"),
        (TrainRow("9", WHY, "s\0", None, {}), "holds a NUL character"),
        (TrainRow("9", WHY, "\ud83d", None, {}), "half of a surrogate pair"),
    ],
)
def test_rows_that_no_format_holds(tmp_path: Path, row: TrainRow, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_exports(tmp_path, [row], ALL, "set", RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_reads_back_otherwise_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_less(path: Path, rows: Any) -> Path:
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows][:-1]))
        return path

    monkeypatch.setattr(exports, "write_rows", write_less)
    with pytest.raises(DataError, match="doesn't read back as what was meant"):
        write_exports(tmp_path, [row_of("1"), row_of("2")], ALL, "set", RECIPE)
    assert list(tmp_path.iterdir()) == []
