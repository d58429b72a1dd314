from __future__ import annotations

import asyncio
import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from robustft.config import Config
from robustft.data.readers import read
from robustft.errors import ConfigError, DataError
from robustft.evaluate.arms import as_given
from robustft.evaluate.evaluate import Training, prepare
from robustft.evaluate.held_out import stamps
from robustft.evaluate.scoring import Result
from robustft.loading import make_config, overridden
from robustft.pipeline import compare, denoise
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.train.form import Form
from robustft.train.lora import read_training
from support import Notes, write_moods
from train.tiny import save_tiny

ROWS, HELD_OUT = 30, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compare")
    save_tiny(place / "tiny")
    write_moods(place / "train.csv", ROWS)
    write_moods(place / "test.csv", HELD_OUT, noise=0.0, seed=1)
    rows = (place / "test.csv").read_text(encoding="utf-8").replace("Note", "Memo")
    (place / "test.csv").write_text(re.sub(r"^r(\d)", r"h\1", rows, flags=re.MULTILINE), encoding="utf-8")
    return place


def config(folder: Path, **sections: Any) -> Config:
    tree = {
        "data": {"path": str(folder / "train.csv"), "truth": "truth"},
        "task": {"instruction": "Mood?"},
        "llm": {"backend": "scripted", "scripted": {"accuracy": 0.9}},
        "experts": ["direct"],
        "embedder": "tfidf",
        "posterior": {"noise": "symmetric", "prior_accuracy": 0.9},
        "train": {"model": str(folder / "tiny"), "dtype": "float32", "epochs": 1},
        "evaluate": {"path": str(folder / "test.csv"), "answers": "scored", "allow_overlap": True},
        "ledger": str(folder / "ledger.sqlite"),
    }
    return make_config(tree | sections)


def results(place: Path) -> list[Result]:
    return [Result(**result) for result in json.loads((place / "result.json").read_bytes())["results"]]


@pytest.fixture(scope="module")
def whole(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A run from file to adapter that evaluates, and compares arms with two seeds."""
    settings = config(folder, compare={"arms": ["none", "posterior", "random", "oracle"], "seeds": [0, 1]})
    return folder / "run", asyncio.run(denoise(settings, folder / "run"))


def test_the_base_model_and_the_adapter_are_asked_the_same_rows(whole: tuple[Path, dict[str, Any]]) -> None:
    run, metrics = whole
    found = metrics["evaluation"]
    assert found["models"].keys() == {"base", "adapter"}
    assert {model["n"] for model in found["models"].values()} == {HELD_OUT}
    assert found["overlap"]["rows"] == HELD_OUT
    change = found["differences"]["adapter"]
    assert change["value"] == pytest.approx(
        found["models"]["adapter"]["accuracy"] - found["models"]["base"]["accuracy"]
    )
    lines = [json.loads(line) for line in (run / "evaluation.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["model"], line["id"]) for line in lines] == [
        (m, f"h{i}") for m in ("base", "adapter") for i in range(HELD_OUT)
    ]
    assert all(sum(line["probs"]) == pytest.approx(1.0) for line in lines)
    shown = (run / "report.html").read_text(encoding="utf-8")
    assert "On held-out rows" in shown
    assert "Does cleaning help?" in shown


def test_arms_differ_in_their_rows_alone(whole: tuple[Path, dict[str, Any]]) -> None:
    run, metrics = whole
    arms = metrics["compare"]["arms"]
    kept = metrics["decisions"]["keep"] + metrics["decisions"]["relabel"]
    assert {name: arm["rows"] for name, arm in arms.items()} == {
        "none": ROWS, "posterior": kept, "random": kept, "oracle": ROWS,
    }  # fmt: skip
    assert arms["oracle"]["right"] == 1.0
    assert {name for name, arm in arms.items() if arm["weighted"]} == {"posterior"}
    asked = {name: [r.id for r in results(run / "compare" / name / f"seed-{seed}")] for name in arms for seed in (0, 1)}
    assert all(rows == [f"h{i}" for i in range(HELD_OUT)] for rows in asked.values())
    settings = [read_training(run / "compare" / name / "seed-1")["settings"] for name in arms]
    assert all(one | {"weight": ""} == settings[0] | {"weight": ""} for one in settings)
    # seeds train other adapters, and the run's own is the posterior's of its seed
    curves = [read_training(run / "compare/posterior" / f"seed-{seed}")["curve"] for seed in (0, 1)]
    assert curves[0] != curves[1]
    assert curves[0] == read_training(run)["curve"]


async def test_what_is_finished_is_not_done_again(whole: tuple[Path, dict[str, Any]], folder: Path) -> None:
    run, metrics = whole
    written = {path: path.stat().st_mtime_ns for path in run.glob("compare/*/seed-*/*.json")}
    assert len(written) == 16
    (run / "compare/none/seed-1/result.json").unlink()
    (run / "compare/oracle/seed-0/training.json").unlink()
    settings = config(folder, compare={"arms": ["none", "posterior", "random", "oracle"], "seeds": [0, 1]})
    again = await compare(settings, run / "compare", run=RunDir(run))
    changed = {str(path.relative_to(run / "compare")) for path in written if path.stat().st_mtime_ns != written[path]}
    assert changed == {"none/seed-1/result.json", "oracle/seed-0/training.json"}
    accuracies = {name: arm["accuracy"] for name, arm in again["arms"].items()}
    assert accuracies == {name: arm["accuracy"] for name, arm in metrics["compare"]["arms"].items()}


def test_the_commands_measure_a_finished_run_again_and_print_the_tables(
    whole: tuple[Path, dict[str, Any]], folder: Path
) -> None:
    run, metrics = whole
    shown = robustft("evaluate", run)
    assert f"{HELD_OUT} held-out rows, answers scored" in shown
    again = json.loads((run / "metrics.json").read_bytes())["evaluation"]
    assert again["models"] == metrics["evaluation"]["models"]
    settings = config(folder, compare={"arms": ["none", "posterior", "random", "oracle"], "seeds": [0, 1]})
    (folder / "config.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")), encoding="utf-8")
    shown = robustft("compare", folder / "config.yaml", "-o", run / "compare")
    assert "Does cleaning help?" in shown
    assert "posterior*" in shown
    assert "compare.html" in shown


def robustft(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "robustft", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_without_truth_the_oracle_is_left_out_and_steps_are_the_budget(folder: Path, tmp_path: Path) -> None:
    settings = config(
        folder, data={"path": str(folder / "train.csv")}, compare={"arms": ["none", "oracle"], "steps": 3}
    )
    notes = Notes()
    found = await compare(settings, tmp_path / "out", progress=notes)
    assert list(found["arms"]) == ["none"]
    assert found["arms"]["none"]["steps"] == 3
    assert found["arms"]["none"]["right"] is None
    assert "arm oracle is left out: data maps no truth" in notes.lines
    assert "Arm oracle is left out" in (tmp_path / "out/compare.md").read_text(encoding="utf-8")


async def test_arms_that_leave_the_same_rows_are_trained_once(folder: Path, tmp_path: Path) -> None:
    write_moods(tmp_path / "right.csv", ROWS, noise=0.0)
    data = {"path": str(tmp_path / "right.csv"), "truth": "truth"}
    notes = Notes()
    settings = config(folder, data=data, compare={"arms": ["none", "oracle"], "seeds": [0, 1]})
    found = await compare(settings, tmp_path / "out", progress=notes)
    assert sum(line.startswith(f"{ROWS} rows to train on") for line in notes.lines) == 2  # one for each seed
    told = [read_training(tmp_path / "out" / arm / f"seed-{seed}") for seed in (0, 1) for arm in ("none", "oracle")]
    assert told[0] == told[1] != told[2] == told[3]
    asked = [results(tmp_path / "out" / arm / "seed-1") for arm in ("none", "oracle")]
    assert [one.probs for one in asked[0]] == [one.probs for one in asked[1]]
    assert found["arms"]["none"]["accuracy"] == found["arms"]["oracle"]["accuracy"]


async def test_neighbours_are_shown_before_the_question(folder: Path, tmp_path: Path) -> None:
    settings = overridden(config(folder), ["evaluate.neighbours=2", "evaluate.context=noisy"])
    task = make_task(settings.task)
    rows = read(settings.data, task)
    form = Form.of(rows.examples, rows.layout, task, settings)
    sheet = await prepare(settings, task, Training.of(rows.examples, as_given(rows.examples), form))
    given = {form.ask(example)[-1]["content"]: example.response for example in rows.examples}
    for question in sheet.questions:
        assert [turn["role"] for turn in question.messages] == ["user", "assistant"] * 2 + ["user"]
        for asked, answered in zip(question.messages[:-1:2], question.messages[1::2], strict=True):
            assert answered["content"] == given[asked["content"]]
        assert question.messages[-1]["content"].startswith("Mood?")


async def test_leaks_are_refused_before_anything_is_asked(folder: Path, tmp_path: Path) -> None:
    leaking = overridden(config(folder), [f"evaluate.path={folder / 'train.csv'}", "evaluate.allow_overlap=false"])
    with pytest.raises(DataError, match=rf"{ROWS} of {ROWS} rows are training rows too, {ROWS} of them word for word"):
        await denoise(leaking, tmp_path / "run")
    assert not (tmp_path / "run/answers.parquet").exists()


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["evaluate.path=nowhere.csv"], "nowhere.csv: no such file"),
        (["evaluate.truth=verdict"], "test.csv, row 1, column 'verdict': no such column"),
        (["evaluate.question=asked", "evaluate.truth=right"], "column in evaluate.question and evaluate.truth"),
        (["evaluate.llm.model=other"], "evaluates what it trains"),
    ],
)
async def test_a_comparison_that_cannot_be_made_says_why(
    folder: Path, tmp_path: Path, sets: list[str], message: str
) -> None:
    with pytest.raises((DataError, ConfigError), match=re.escape(message)):
        await compare(overridden(config(folder, compare={"arms": ["none"]}), sets), tmp_path / "out")


async def test_held_out_rows_without_a_response_are_named_or_set_aside(folder: Path, tmp_path: Path) -> None:
    with (folder / "test.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[3]["answer"] = ""
    with (tmp_path / "test.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    sets = [f"evaluate.path={tmp_path / 'test.csv'}"]
    with pytest.raises(DataError, match=r"row 'h3'.*has no response to compare with"):
        await compare(overridden(config(folder, compare={"arms": ["none"]}), sets), tmp_path / "out")
    found = await compare(
        overridden(config(folder, compare={"arms": ["none"]}), [*sets, "data.on_bad_row=skip"]), tmp_path / "out"
    )
    assert found["base"]["n"] == HELD_OUT - 1
    assert found["set_aside"][0].startswith("row 'h3'")


async def test_an_arm_that_leaves_nothing_is_left_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bare.csv").write_text(
        "id,question,options,answer,truth\n" + "".join(f'q{i},Note {i}?,"[""low"", ""high""]",,A\n' for i in range(6))
    )
    settings = config(folder, data={"path": str(tmp_path / "bare.csv"), "truth": "truth"}, compare={"arms": ["none"]})
    settings = overridden(settings, ["evaluate.truth=truth", f"evaluate.path={tmp_path / 'bare.csv'}"])
    notes = Notes()
    found = await compare(settings, tmp_path / "out", progress=notes)
    assert found["skipped"] == {"none": "leaves no row to train on"}
    assert "arm none is left out: it leaves no row to train on" in notes.lines


async def test_a_comparison_of_other_rows_is_not_shown(folder: Path, tmp_path: Path) -> None:
    settings = config(folder, compare={"arms": ["none"], "steps": 1}, train={"model": str(folder / "tiny")})
    first = await denoise(settings, tmp_path / "run", skip=["train", "evaluate"])
    assert first["compare"]["arms"].keys() == {"none"}
    fewer = await denoise(settings, tmp_path / "run", limit=20, skip=["train", "evaluate", "compare"])
    assert fewer["compare"] is None


def test_another_adapter_in_its_folder_is_evaluated_anew(folder: Path, tmp_path: Path) -> None:
    settings = config(folder, evaluate={"path": str(folder / "test.csv"), "adapters": {"mine": str(tmp_path)}})
    found = []
    for content in (b"one", b"another"):
        (tmp_path / "adapter_model.safetensors").write_bytes(content)
        found.append(stamps(settings))
    assert found[0] != found[1]
    assert found[0][:-1] == found[1][:-1]
