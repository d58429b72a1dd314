from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llm.server import ChatServer
from robustft.config import Config, LLMConfig
from robustft.data.files import file_rows
from robustft.data.noise import Kind, noise_file
from robustft.data.readers import read
from robustft.data.writing import write_rows
from robustft.errors import ConfigError, DataError
from robustft.loading import make_config
from robustft.tasks import make_task


def config_of(kind: str = "choice", **data: Any) -> Config:
    return make_config({"task": {"kind": kind}, "data": data})


MOODS = ["bad", "fine", "good"]
LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "columns": [{"n": n, "question": f"{n}?", "answer": "ABC"[n % 3], "options": MOODS, "x": None} for n in range(40)],
    "texts": [{"question": f"{n}?", "answer": MOODS[n % 3], "options": MOODS} for n in range(40)],
    "indices": [{"question": f"{n}?", "answer": str(n % 3), "options": MOODS} for n in range(40)],
    "alpaca": [{"output": "ABC"[n % 3], "instruction": "Pick", "input": f"{n}", "options": MOODS} for n in range(40)],
    "sharegpt": [
        {
            "conversations": [{"from": "human", "value": f"{n}?"}, {"from": "gpt", "value": MOODS[n % 3]}],
            "options": MOODS,
        }
        for n in range(40)
    ],
    "messages": [
        {
            "messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "ABC"[n % 3]}],
            "options": MOODS,
        }
        for n in range(40)
    ],
    "prompt-completion": [{"prompt": f"{n}?", "completion": "ABC"[n % 3], "options": MOODS} for n in range(40)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json.gz", ".parquet"])
def test_a_noisy_file_keeps_its_layout_and_its_truth(tmp_path: Path, layout: str, suffix: str) -> None:
    source = write_rows(tmp_path / f"clean{suffix}", LAYOUTS[layout])
    config = config_of()
    output = tmp_path / f"noisy{suffix}"
    summary = noise_file(source, output, config, 0.3, seed=5)
    task = make_task(config.task)
    before = read(config.data.model_copy(update={"path": str(source)}), task)
    after = read(config.data.model_copy(update={"path": str(output), "truth": "truth"}), task)
    assert after.layout == before.layout
    assert [e.truth for e in after.examples] == [e.response for e in before.examples]
    assert [e.messages for e in after.examples] == [e.messages for e in before.examples]
    assert [e.id for e in after.examples] == [e.id for e in before.examples]
    changed = [e for e in after.examples if e.response != e.truth]
    assert (summary.rows, summary.labelled, summary.changed, len(changed)) == (40, 40, 12, 12)
    assert all(e.response in {other.truth for other in after.examples} for e in changed)
    assert [list(e.source) for e in after.examples] == [[*e.source, "truth"] for e in before.examples]
    again = tmp_path / f"again{suffix}"
    noise_file(source, again, config, 0.3, seed=5)
    assert again.read_bytes() == output.read_bytes()
    noise_file(source, again, config, 0.3, seed=6)
    assert again.read_bytes() != output.read_bytes()


def test_open_answers_are_written_as_their_rows_give_them(tmp_path: Path) -> None:
    answers = ["The Eiffel Tower", "Big Ben", "$1,200", None, ["NYC", "New York"]]
    rows = [{"question": f"{n}?", "answer": answer} for n, answer in enumerate(answers)]
    source = write_rows(tmp_path / "clean.jsonl", rows)
    summary = noise_file(source, tmp_path / "noisy.csv", config_of("short"), 1.0)
    noisy = [row.values for row in file_rows(tmp_path / "noisy.csv")]
    given = ["The Eiffel Tower", "Big Ben", "$1,200", "", "NYC | New York"]
    assert [row["truth"] for row in noisy] == given
    assert all(row["answer"] in given and row["answer"] != row["truth"] for row in noisy if row["truth"])
    assert noisy[3] == {"question": "3?", "answer": "", "truth": ""}
    assert (summary.rows, summary.labelled, summary.changed) == (5, 4, 4)


def test_numbers_get_a_number_that_differs(tmp_path: Path) -> None:
    answers = ["1,000", "1000.0", "$1000", "7"]
    rows = [{"question": f"{n}?", "answer": answer} for n, answer in enumerate(answers)]
    source = write_rows(tmp_path / "clean.csv", rows)
    noise_file(source, tmp_path / "noisy.csv", config_of("number"), 1.0, truth_column="right")
    noisy = [row.values for row in file_rows(tmp_path / "noisy.csv")]
    assert [row["answer"] for row in noisy[:3]] == ["7", "7", "7"]
    assert [row["right"] for row in noisy] == answers


def test_asymmetric_noise_goes_to_the_next_option(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "clean.csv", LAYOUTS["texts"])
    noise_file(source, tmp_path / "noisy.jsonl", config_of(), 0.5, "asymmetric")
    rows = [row.values for row in file_rows(tmp_path / "noisy.jsonl")]
    moves = Counter((row["truth"], row["answer"]) for row in rows if row["truth"] != row["answer"])
    assert set(moves) == {("bad", "fine"), ("fine", "good"), ("good", "bad")}
    assert sum(moves.values()) == 20
    assert json.loads(rows[0]["options"]) == MOODS


def test_malformed_rows_are_left_out_on_request(tmp_path: Path) -> None:
    source = write_rows(
        tmp_path / "clean.csv", [*LAYOUTS["texts"], {"question": "", "answer": "bad", "options": MOODS}]
    )
    with pytest.raises(DataError, match="row 41"):
        noise_file(source, tmp_path / "noisy.csv", config_of(), 0.3)
    summary = noise_file(source, tmp_path / "noisy.csv", config_of(on_bad_row="skip"), 0.3)
    assert (summary.rows, summary.skipped) == (40, 1)


def test_mistakes(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "clean.csv", [{"question": "1?", "answer": "A", "options": MOODS, "truth": "A"}])
    output = tmp_path / "noisy.csv"
    with pytest.raises(DataError, match=r"clean\.csv, column 'truth': is there already; choose another name"):
        noise_file(source, output, config_of(), 0.3)
    with pytest.raises(ConfigError, match="a share from 0 to 1"):
        noise_file(source, output, config_of(), 30, truth_column="right")
    with pytest.raises(DataError, match="unknown kind of file"):
        noise_file(source, tmp_path / "noisy.txt", config_of(), 0.3, truth_column="right")
    assert not output.exists()


def noisy_rows(folder: Path, config: Config, kind: Kind, rows: list[dict[str, Any]], rate: float) -> list[Any]:
    write_rows(folder / "clean.jsonl", rows)
    noise_file(folder / "clean.jsonl", folder / "noisy.jsonl", config, rate, kind)
    planted = [row.values for row in file_rows(folder / "noisy.jsonl")]
    assert sum(row["answer"] != row["truth"] for row in planted) == round(rate * len(rows))
    return planted


def tfidf(kind: str, *, times: int = 1, **task: Any) -> Config:
    return make_config({"task": {"kind": kind} | task, "embedder": ["tfidf"] * times})


@pytest.mark.parametrize("embedders", [1, 2])
def test_shared_options_are_confused_as_classes(tmp_path: Path, embedders: int) -> None:
    words = {"bad": "loss cut fell", "poor": "loss cut rose", "good": "profit record rose"}
    rows = [{"question": f"{words[mood]} {n}", "answer": mood} for n in range(10) for mood in words]
    config = tfidf("choice", times=embedders, options=list(words))
    planted = noisy_rows(tmp_path, config, "confusable", rows, 0.5)
    wrong = {"bad": "poor", "poor": "bad", "good": "poor"}
    assert {(row["truth"], row["answer"]) for row in planted if row["truth"] != row["answer"]} == set(wrong.items())


def test_own_options_are_confused_by_their_texts(tmp_path: Path) -> None:
    options = ["red apple", "blue car", "red pear", "old house"]
    rows = [{"question": f"{n}?", "answer": "C", "options": [f"{word} {n}" for word in options]} for n in range(10)]
    planted = noisy_rows(tmp_path, tfidf("choice"), "confusable", rows, 1.0)
    assert {row["answer"] for row in planted} == {"A"}


def test_open_answers_are_confused_by_their_texts(tmp_path: Path) -> None:
    answers = ["Bank of England", "the Bank of England", "Bank of Spain", "Rome", "Rome, Italy"]
    rows = [{"question": f"{n}?", "answer": answer} for n, answer in enumerate(answers)]
    planted = noisy_rows(tmp_path, tfidf("short"), "confusable", rows, 1.0)
    assert [row["answer"] for row in planted[:2]] == ["Bank of Spain"] * 2
    assert planted[2]["answer"] in answers[:2]
    assert [row["answer"] for row in planted[3:]] == ["Rome, Italy", "Rome"]


def test_a_neighbours_answer_is_copied(tmp_path: Path) -> None:
    rows = [
        {"question": "Is the sky blue today?", "answer": "blue", "options": ["green", "blue"]},
        {"question": "Is the sky blue now?", "answer": "C", "options": ["a", "b", "none"]},
        {"question": "Is the sky dark tonight?", "answer": "A", "options": ["yes", "no"]},
        {"question": "Who won?", "answer": "1", "options": ["x", "y"]},
    ]
    planted = noisy_rows(tmp_path, tfidf("choice"), "neighbour", rows, 1.0)
    # row 1 has no C to give to row 0; and a letter is copied, whatever its text
    assert [row["answer"] for row in planted[:3]] == ["green", "B", "B"]
    # nothing else is like row 3: it may get the only other letter that fits
    assert planted[3]["answer"] == "0"
    open_rows = [
        {"question": row["question"], "answer": text}
        for row, text in zip(rows, ["Blue", "blue.", "dark", "Ann"], strict=True)
    ]
    planted = noisy_rows(tmp_path, tfidf("short"), "neighbour", open_rows, 1.0)
    # 'Blue' and 'blue.' are one answer
    assert [row["answer"] for row in planted[:2]] == ["dark", "dark"]
    assert planted[2]["answer"] in ("Blue", "blue.")


async def test_an_endpoints_embeddings_are_used_and_its_connections_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustft.llm.models.user_cache_path", lambda name: tmp_path / "cache")
    write_rows(tmp_path / "clean.csv", LAYOUTS["texts"])
    async with ChatServer() as server:
        config = config_of().model_copy(
            update={"embedder": ("openai:m",), "llm": LLMConfig(backend="openai", base_url=server.url)}
        )
        # from a thread, since an event loop runs here
        summary = await asyncio.to_thread(
            noise_file, tmp_path / "clean.csv", tmp_path / "noisy.csv", config, 0.5, "neighbour"
        )
        assert {wire.path.rsplit("/", 1)[-1] for wire in server.seen} == {"embeddings"}
    assert summary.changed == 20
    gc.collect()
    assert "Unclosed" not in caplog.text


def test_truncated_responses_are_first_halves(tmp_path: Path) -> None:
    answers = ["12,500", "7", "1000", "$3.50"]
    rows = [{"question": f"{n}?", "answer": answer} for n, answer in enumerate(answers)]
    planted = noisy_rows(tmp_path, tfidf("number"), "truncated", rows, 0.5)
    assert all(row["answer"] in (row["truth"], row["truth"][: len(row["truth"]) // 2]) for row in planted)
    assert planted[1]["answer"] == "7"
    with pytest.raises(DataError, match="truncated noise: 4 of 4 rows are to be changed and 3 could be"):
        noise_file(tmp_path / "clean.jsonl", tmp_path / "noisy.jsonl", tfidf("number"), 1.0, "truncated")
    with pytest.raises(ConfigError, match="truncated cuts the response's text, and half an option is none"):
        noise_file(tmp_path / "clean.jsonl", tmp_path / "noisy.jsonl", tfidf("choice"), 0.5, "truncated")


def test_only_the_first_rows_are_copied_on_request(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "clean.csv", LAYOUTS["texts"])
    summary = noise_file(source, tmp_path / "noisy.csv", config_of(), 0.5, limit=10)
    assert (summary.rows, summary.changed) == (10, 5)
