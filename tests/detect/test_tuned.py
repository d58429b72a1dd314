from __future__ import annotations

import asyncio
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustft.config import Config
from robustft.data.train_rows import TrainRow
from robustft.detect.tuned import teachers, tuned_settings
from robustft.errors import ConfigError
from robustft.fusion.views import TUNED, Rows, views_of
from robustft.loading import make_config
from robustft.pipeline import denoise
from robustft.records import Answer, Example
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.train.lora import read_training, train
from support import Notes, stored, write_moods
from train.tiny import save_tiny

ROWS = 45


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def config(data: Path, model: Path, **sections: Any) -> Config:
    return make_config(
        {
            "data": {"path": str(data), "truth": "truth"},
            "task": {"instruction": "Mood?"},
            "llm": {"backend": "scripted"},
            "experts": ["direct", TUNED],
            "embedder": "tfidf",
            "train": {"model": str(model), "dtype": "float32"},
            "tuned": {"folds": 3},
            "ledger": str(data.parent / "ledger.sqlite"),
            **sections,
        }
    )


async def clean(data: Path, model: Path, out: Path) -> dict[str, Answer]:
    await denoise(config(data, model), out, skip=["train"])
    return {answer.id: answer for answer in RunDir(out).load(Answer) if answer.expert == TUNED}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> tuple[Path, dict[str, Answer]]:
    folder = tmp_path_factory.mktemp("tuned")
    data = write_moods(folder / "moods.csv", ROWS)
    return folder, asyncio.run(clean(data, tiny, folder / "run"))


def test_every_row_is_answered_by_an_adapter_that_was_trained_on_the_other_folds(
    ran: tuple[Path, dict[str, Answer]],
) -> None:
    folder, said = ran
    run = RunDir(folder / "run")
    assert list(said) == [example.id for example in run.load(Example)]
    trained = [read_training(run.path / TUNED / str(fold))["tokens"]["rows"] for fold in range(3)]
    assert sum(trained) == 2 * ROWS
    assert run.read_json("findings.json")["posterior"]["weights"].keys() == {"direct", TUNED}
    assert all(sum(answer.probs or ()) == pytest.approx(1.0) for answer in said.values())


async def test_a_rows_own_label_changes_nothing_of_what_it_is_told(
    ran: tuple[Path, dict[str, Answer]], tiny: Path, tmp_path: Path
) -> None:
    folder, before = ran
    with (folder / "moods.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[7]["answer"] = "ABC"["ABC".index(rows[7]["answer"]) - 1]
    with (tmp_path / "moods.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    after = await clean(tmp_path / "moods.csv", tiny, tmp_path / "run")
    assert after["r7"].probs == before["r7"].probs
    assert any(after[row].probs != before[row].probs for row in after)


async def test_where_nothing_is_identified_there_are_no_labels_to_learn_from(tiny: Path, tmp_path: Path) -> None:
    data = write_moods(tmp_path / "moods.csv", ROWS)
    chance = config(data, tiny, llm={"backend": "scripted", "scripted": {"accuracy": 0.34}})
    progress = Notes()
    await denoise(chance, tmp_path / "run", skip=["train"], progress=progress)
    assert "tuned: nothing is identified, so that there are no labels to learn from: left out" in progress.lines
    assert not (tmp_path / "run" / TUNED).exists()
    assert {answer.expert for answer in RunDir(tmp_path / "run").load(Answer)} == {"direct"}


async def test_finished_adapters_are_not_trained_again(ran: tuple[Path, dict[str, Answer]], tiny: Path) -> None:
    folder, before = ran
    adapter = folder / "run" / TUNED / "0" / "adapter" / "adapter_model.safetensors"
    written = adapter.stat().st_mtime_ns
    (folder / "run" / "stages.json").unlink()
    again = await clean(folder / "moods.csv", tiny, folder / "run")
    assert adapter.stat().st_mtime_ns == written
    assert {row: answer.probs for row, answer in again.items()} == {row: answer.probs for row, answer in before.items()}


def test_teaches_the_likeliest_answers_as_far_as_they_are_believed(ran: tuple[Path, dict[str, Answer]]) -> None:
    folder, _ = ran
    settings, examples = config(folder / "moods.csv", folder), RunDir(folder / "run").load(Example)
    task = make_task(settings.task)
    named = [task.label(example.truth or "", example.options) for example in examples]
    said = [
        Answer(e.id, "direct", "", value, probs=tuple(0.9 if o == value else 0.05 for o in "ABC"))
        for e, value in zip(examples, named, strict=True)
    ]
    views = views_of(Rows.of(examples, task), [stored(Answer, said)], ["direct"], task)
    answer, confidence = teachers(views, np.zeros((ROWS, 1)), np.arange(ROWS), settings)
    given = [task.label(example.response or "", example.options) for example in examples]
    agree = np.array([value == own for value, own in zip(named, given, strict=True)])
    assert ["ABC"[k] for k in answer] == named
    assert confidence[agree].min() > confidence[~agree].max()


async def test_an_adapter_learns_the_answers_that_are_believed_not_those_given(
    ran: tuple[Path, dict[str, Answer]], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = ran
    learnt = dict[str, str]()

    def listening(rows: Sequence[TrainRow], *others: Any) -> dict[str, Any]:
        learnt.update((row.id, row.response) for row in rows)
        return train(rows, *others)

    monkeypatch.setattr("robustft.detect.tuned.train", listening)
    await clean(folder / "moods.csv", tiny, tmp_path / "run")
    examples = RunDir(tmp_path / "run").load(Example)
    given = np.mean([example.response == example.truth for example in examples])
    believed = np.mean([learnt[example.id] == example.truth for example in examples])
    assert believed > given


def test_open_questions_have_nothing_to_score(tmp_path: Path, tiny: Path) -> None:
    number = config(tmp_path / "x.csv", tiny, task={"kind": "number"})
    with pytest.raises(ConfigError, match="tuned scores options, and a 'number' task has none"):
        tuned_settings(number)


async def test_rows_without_options_are_no_ones_to_score(tiny: Path, tmp_path: Path) -> None:
    rows = write_moods(tmp_path / "moods.csv", ROWS).read_text(encoding="utf-8").splitlines()
    options = '"[""negative"", ""neutral"", ""positive""]"'
    rows[3] = rows[3].replace(options, "")
    (tmp_path / "moods.csv").write_text("\n".join(rows), encoding="utf-8")
    said = await clean(tmp_path / "moods.csv", tiny, tmp_path / "run")
    assert [row for row, answer in said.items() if answer.value is None] == ["r2"]
    without = [row.replace(options, "") for row in rows]
    (tmp_path / "moods.csv").write_text("\n".join(without), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tuned score options, and no row of .*moods\.csv has any"):
        await clean(tmp_path / "moods.csv", tiny, tmp_path / "other")


async def test_where_all_rows_are_alike_there_are_no_others(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustft.detect.tuned.near_duplicates", lambda embeddings, seed: np.zeros(ROWS, dtype=int))
    progress = Notes()
    await denoise(
        config(write_moods(tmp_path / "moods.csv", ROWS), tiny), tmp_path / "run", skip=["train"], progress=progress
    )
    assert any(line.startswith("tuned: all rows are near-duplicates") for line in progress.lines)


async def test_another_model_to_train_tunes_again(ran: tuple[Path, dict[str, Answer]], tiny: Path) -> None:
    folder, before = ran
    other = config(folder / "moods.csv", tiny, train={"model": str(tiny), "dtype": "float32", "rank": 2})
    await denoise(other, folder / "run", skip=["train"])
    after = {answer.id: answer for answer in RunDir(folder / "run").load(Answer) if answer.expert == TUNED}
    assert read_training(folder / "run" / TUNED / "0")["settings"]["rank"] == 2
    assert any(after[row].probs != before[row].probs for row in after)
