from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from robustft.config import Config
from robustft.data.files import file_rows
from robustft.data.noise import Kind, noise_file, plant
from robustft.data.readers import read
from robustft.data.writing import write_rows
from robustft.errors import ConfigError, DataError
from robustft.loading import make_config
from robustft.tasks import make_task

RATES = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)
LETTERS = st.lists(st.sampled_from("ABC"), max_size=30)


@settings(deadline=None)
@given(values=LETTERS, rate=RATES, kind=st.sampled_from(["symmetric", "asymmetric"]), seed=SEEDS)
def test_exactly_the_rate_and_always_wrong(values: list[str], rate: float, kind: Kind, seed: int) -> None:
    choices = [("A", "B", "C")] * len(values)
    planted = plant(values, choices, rate, kind, seed)
    assert len(planted) == round(rate * len(values))
    assert list(planted) == sorted(planted)
    assert all(value in "ABC" and value != values[row] for row, value in planted.items())
    assert plant(values, choices, rate, kind, seed) == planted
    if kind == "asymmetric":
        assert all(value == {"A": "B", "B": "C", "C": "A"}[values[row]] for row, value in planted.items())


@settings(deadline=None)
@given(values=LETTERS, rates=st.tuples(RATES, RATES), seed=SEEDS)
def test_a_higher_rate_adds_to_a_lower_one(values: list[str], rates: tuple[float, float], seed: int) -> None:
    choices = [("A", "B", "C")] * len(values)
    low, high = (plant(values, choices, rate, seed=seed) for rate in sorted(rates))
    assert low.items() <= high.items()


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 3).map(str), min_size=1, max_size=30), rate=RATES, seed=SEEDS)
def test_open_answers_are_those_of_other_rows(values: list[str], rate: float, seed: int) -> None:
    def agree(a: str, b: str) -> bool:
        return int(a) // 2 == int(b) // 2

    assume(len({int(value) // 2 for value in values}) == 2)
    planted = plant(values, [()] * len(values), rate, seed=seed, agree=agree)
    assert len(planted) == round(rate * len(values))
    assert all(value in values and not agree(value, values[row]) for row, value in planted.items())


def test_wrong_options_are_equally_likely() -> None:
    n = 6000
    drawn = Counter(plant(["B"] * n, [("A", "B", "C", "D")] * n, 1.0).values())
    # 3 standard errors of a share of 1/3
    assert all(abs(drawn[value] / n - 1 / 3) < 3 * (2 / 9 / n) ** 0.5 for value in "ACD")


def test_open_answers_come_in_proportion_to_the_rows() -> None:
    values = ["1"] * 1000 + ["2"] * 3000 + ["3"] * 1000
    drawn = Counter(value for row, value in plant(values, [()] * 5000, 1.0).items() if values[row] == "1")
    assert abs(drawn["2"] / 1000 - 3 / 4) < 3 * (3 / 16 / 1000) ** 0.5


def test_a_rare_answer_is_found() -> None:
    values = ["1"] * 3000 + ["2"]
    assert set(plant(values, [()] * 3001, 1.0).values()) == {"1", "2"}


def test_where_nothing_can_be_planted() -> None:
    with pytest.raises(DataError, match="all rows have the same answer"):
        plant(["1", "1"], [(), ()], 0.5)
    with pytest.raises(ConfigError, match="use symmetric"):
        plant(["1", "2"], [(), ()], 0.5, "asymmetric")


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
