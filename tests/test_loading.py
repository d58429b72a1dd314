from __future__ import annotations

from pathlib import Path

import pytest

from robustft.config import TrainConfig
from robustft.errors import ConfigError
from robustft.loading import load_config, make_config, overridden

PRESETS = {
    "fpb": {
        "task": {"kind": "choice", "instruction": "Sentiment?", "target": "Answer: {answer}"},
        "data": {"path": "hf://luojunyu/RobustFT/fpb/noisy30", "response": "answer"},
    }
}


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_preset_lies_under_the_file_and_the_flags_over_it(tmp_path: Path) -> None:
    path = write(tmp_path, "task: fpb\ndata: {response: label}\nseed: 3")
    config = load_config(path, ["seed=4", "llm.model=x", "llm.scripted.accuracy=0.6"], PRESETS)
    assert config.task.instruction == "Sentiment?"
    assert config.data.path == "hf://luojunyu/RobustFT/fpb/noisy30"
    assert config.data.response == "label"
    assert (config.seed, config.llm.model, config.llm.scripted.accuracy) == (4, "x", 0.6)


def test_one_key_of_a_preset_can_be_changed(tmp_path: Path) -> None:
    path = write(tmp_path, "task: {preset: fpb, instruction: 'Mood?'}")
    task = load_config(path, ["task.target={answer}"], PRESETS).task
    assert (task.instruction, task.target, task.kind) == ("Mood?", "{answer}", "choice")
    shorthand = write(tmp_path, "task: fpb")
    assert load_config(shorthand, ["task.instruction=Mood?"], PRESETS).task.instruction == "Mood?"


def test_paths_in_the_file_are_relative_to_it_and_those_of_flags_are_not(tmp_path: Path) -> None:
    path = write(
        tmp_path, "data: {path: rows.csv, truth_path: hf://a/b}\nledger: l.sqlite\nposterior: {reviewed: seen.csv}"
    )
    config = load_config(path)
    assert config.data.path == str(tmp_path / "rows.csv")
    assert config.data.truth_path == "hf://a/b"
    assert config.ledger == tmp_path / "l.sqlite"
    assert config.posterior.reviewed == tmp_path / "seen.csv"
    assert load_config(path, ["data.path=rows.csv"]).data.path == "rows.csv"
    assert load_config(path, ["posterior.reviewed=seen.csv"]).posterior.reviewed == Path("seen.csv")


def test_a_prompt_file_is_read_into_the_config(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("{question} ?", encoding="utf-8")
    assert load_config(write(tmp_path, "prompts: {direct: 'file:p.txt'}")).prompts.direct == "{question} ?"


def test_a_list_of_formats_is_enough(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "export: [sharegpt]")).export.formats == ("sharegpt",)


def test_an_embedder_is_one_or_a_list(tmp_path: Path) -> None:
    path = write(tmp_path, "embedder: ./models/a+b")
    assert load_config(path).embedder == ("./models/a+b",)
    assert load_config(path, ["embedder=[minilm, hidden]"]).embedder == ("minilm", "hidden")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("methd: paper", "unknown key 'methd'; did you mean 'method'?"),
        ("llm: {modle: x}", "unknown key 'llm.modle'; did you mean 'model'?"),
        ("llm: {zzz: x}", "unknown key 'llm.zzz'; known here: backend, model"),
        ("llm: {concurrency: 0}", "'llm.concurrency': input should be greater than or equal to 1, not 0"),
        ("method: magic", "'method': input should be 'posterior', 'paper'"),
        ("embedder: []", "'embedder': tuple should have at least 1 item"),
        ("task: nope", "no preset 'nope'; there are fpb"),
        ("a: [", "not valid YAML"),
        ("- a", "a config is a mapping"),
        (
            "budget: {cost: 5}",
            "config.yaml: budget.cost needs llm.price: {prompt: .., completion: ..}, money for a million",
        ),
        ("prompts: {direct: 'file:gone.txt'}", "prompts.direct: can't read"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text), presets=PRESETS)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="robustft init"):
        load_config(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match=r"--set seed: write --set a\.b=value"):
        load_config(write(tmp_path, ""), ["seed"])


def test_a_section_is_switched_on_by_empty_braces(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "seed: 1"), ["train={}"]).train == TrainConfig()


def test_a_config_can_be_overridden_again() -> None:
    config = overridden(make_config({"seed": 3, "task": {"instruction": "Mood?"}}), ["train.lr=3e-4", "train.rank=4"])
    assert (config.seed, config.task.instruction) == (3, "Mood?")
    assert config.train == TrainConfig(lr=3e-4, rank=4)
    with pytest.raises(ConfigError, match=r"--set: unknown key 'train\.ranks'; did you mean 'rank'"):
        overridden(config, ["train.ranks=4"])
