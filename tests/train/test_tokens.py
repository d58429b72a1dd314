from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import transformers
import trl

from robustft.config import DataConfig, ExportConfig, Format, TrainConfig
from robustft.data.exports import write_exports
from robustft.data.files import file_rows
from robustft.data.layouts import to_turns
from robustft.data.recipes import TRL, Recipe
from robustft.data.train_rows import TrainRow
from robustft.errors import ConfigError, DataError
from robustft.records import Message
from robustft.train.tokens import IGNORED, count, tokenise, told
from train.tiny import TEMPLATE, moods, save_tiny

FORMATS: tuple[Format, ...] = ("alpaca", "sharegpt", "messages", "prompt-completion")
TALK = TrainRow(
    "talk",
    (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hello?"),
        Message(role="assistant", content="Hi."),
        Message(role="user", content="Why?"),
    ),
    "So.",
    None,
    {},
)
ASKED = (Message(role="user", content="Why?"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def ends(tokenizer: Any) -> set[int]:
    return {tokenizer.eos_token_id}


def test_the_last_answer_and_its_end_are_trained_on(tokenizer: Any) -> None:
    (talk,) = tokenise([TALK], tokenizer, 1024)
    text = tokenizer.decode(talk.input_ids)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?")
    assert tokenizer.decode(talk.trained) == "So.<|im_end|>\n"
    assert talk.labels[-len(talk.trained) :] == talk.trained
    assert set(talk.labels[: -len(talk.trained)]) == {IGNORED}
    assert not talk.cut


def test_tokens_are_counted(tokenizer: Any) -> None:
    tokens = tokenise([*moods(2), TALK], tokenizer, 1024)
    found = count(tokens, ends(tokenizer), tokenizer)
    assert found["rows"] == 3
    assert found["tokens"] == sum(len(row.input_ids) for row in tokens)
    assert found["trained"] == 2 * len("Answer: A\n") + 2 + len("So.\n") + 1
    assert found["end_of_turn"] == ["<|im_end|>"]
    assert found["cut"] == {"rows": 0, "ids": []}
    assert told(found) == [
        f"3 rows to train on: {found['tokens']} tokens, of which 27 are answers, which end with <|im_end|>"
    ]


def test_rows_that_are_cut_are_named(tokenizer: Any) -> None:
    rows = [*moods(1), TrainRow("long", ASKED, "so " * 50, None, {})]
    tokens = tokenise(rows, tokenizer, 60)
    assert [len(row.input_ids) for row in tokens] == [tokens[0].length, 60]
    found = count(tokens, ends(tokenizer), tokenizer)
    assert found["cut"] == {"rows": 1, "ids": ["long"]}
    assert f"1 rows are longer than train.max_length (the longest has {tokens[1].length}" in told(found)[1]
    assert "lose their end: long" in told(found)[1]


def test_a_row_of_which_nothing_is_trained_is_an_error(tokenizer: Any) -> None:
    wordy = TrainRow("wordy", (Message(role="user", content="why " * 50),), "so", None, {})
    with pytest.raises(DataError, match=r"nothing of row 'wordy' would be trained on.*train\.max_length"):
        count(tokenise([*moods(2), wordy], tokenizer, 100), ends(tokenizer), tokenizer)
    with pytest.raises(DataError, match=r"nothing of 7 rows \('r0', 'r1', 'r2', 'r3', 'r4', \.\.\.\)"):
        count(tokenise(moods(7), tokenizer, 10), ends(tokenizer), tokenizer)
    with pytest.raises(DataError, match="nothing to train on"):
        count(tokenise([], tokenizer, 10), ends(tokenizer), tokenizer)


def test_an_answer_must_end_where_the_model_stops(folder: Path, tokenizer: Any) -> None:
    other = transformers.AutoTokenizer.from_pretrained(folder)
    other.chat_template = TEMPLATE.replace("<|im_end|>", "<end>")
    with pytest.raises(ConfigError, match=r"ends an answer with no token at which the model stops \('<\|im_end\|>'\)"):
        count(tokenise(moods(2), other, 1024), ends(tokenizer), other)


def test_a_row_that_the_template_refuses_is_named(folder: Path) -> None:
    strict = transformers.AutoTokenizer.from_pretrained(folder)
    strict.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    with pytest.raises(DataError, match=r"row 'talk' can't be trained on.*no system turn"):
        tokenise([TALK], strict, 1024)


def exported(folder: Path, *rows: TrainRow) -> dict[Format, Path]:
    """Return {format: file} of the rows' export."""
    recipe = Recipe("org/model", TrainConfig())
    write_exports(folder, rows, ExportConfig(formats=FORMATS), "train", recipe)
    return {form: folder / f"train_{form}.jsonl" for form in FORMATS}


@pytest.mark.parametrize("plain", [False, True])
def test_every_export_format_holds_the_same_tokens(tmp_path: Path, tokenizer: Any, plain: bool) -> None:
    source = {"prompt": "Why?", "completion": "old"}
    rows = [TrainRow("plain", ASKED, "so", None, source)] if plain else [*moods(5), TALK]
    meant = tokenise(rows, tokenizer, 1024)
    for form, path in exported(tmp_path, *rows).items():
        turns = [to_turns(raw.values, form, DataConfig()) for raw in file_rows(path)]
        read = [
            TrainRow(row.id, turn.messages, turn.response or "", None, {})
            for row, turn in zip(rows, turns, strict=True)
        ]
        assert tokenise(read, tokenizer, 1024) == meant, form


@pytest.mark.parametrize("form", ["prompt-completion", "messages", "sharegpt", "alpaca"])
def test_trl_makes_the_same_tokens_of_what_our_script_feeds_it(
    tmp_path: Path, folder: Path, tokenizer: Any, form: Format
) -> None:
    rows = moods(5) if form == "alpaca" else [*moods(5), TALK]
    write_exports(tmp_path, rows, ExportConfig(formats=(form,)), "train", Recipe(str(folder), TrainConfig()))
    script = (tmp_path / TRL).read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(script[script.index("ROLES =") : script.index("rows = load_dataset")], names)
    files = file_rows(tmp_path / f"train_{form}.jsonl")
    raw = datasets.Dataset.from_list([names["conversation"](row.values) for row in files])
    arguments = trl.SFTConfig(output_dir=str(tmp_path / "out"), bf16=False, use_cpu=True, report_to="none")
    trainer = trl.SFTTrainer(str(folder), args=arguments, train_dataset=raw, processing_class=tokenizer)
    prepared = [(tuple(row["input_ids"]), tuple(row["labels"])) for row in trainer.train_dataset]
    assert prepared == [(row.input_ids, row.labels) for row in tokenise(rows, tokenizer, 1024)]
