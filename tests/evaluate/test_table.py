from __future__ import annotations

from typing import Any

import pytest

from robustft.config import TaskConfig
from robustft.evaluate.outcome import ArmRun, outcome, right_share
from robustft.evaluate.scoring import Result
from robustft.evaluate.table import caption, markdown, page, picture, table
from robustft.loading import make_config
from robustft.records import Decision, Example, Message, Outcome
from robustft.tasks import make_task

TASK = make_task(TaskConfig())
CONFIG = make_config({"evaluate": {"path": "test.csv", "answers": "scored"}, "llm": {"backend": "scripted"}})
ROWS = 40


def results(right: int) -> list[Result]:
    values = ["A" if i < right else "B" for i in range(ROWS)]
    return [Result(f"h{i}", "m", value, "A", {"strict": value, "tolerant": value}) for i, value in enumerate(values)]


def arm(*right: int, weighted: bool = False) -> list[ArmRun]:
    return [ArmRun(seed, 100, 0.7, weighted, 13, 5.0, results(count)) for seed, count in enumerate(right)]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    arms = {"none": arm(20, 24), "posterior": arm(28, 30, weighted=True), "oracle": arm(36, 36)}
    facts = {
        "overlap": {"rows": ROWS, "exact": 1, "near": 2, "first": []},
        "set_aside": ["row 3 of test.csv: no options", "row 9 of test.csv: no options"],
        "skipped": {"paper": "of <no> use"},
        "train": {"model": "tiny", "rank": 16, "epochs": 1.0, "max_steps": None, "batch_size": 8, "accumulation": 2,
                  "lr": 1e-4},
        "seeds": [0, 1],
        "steps": None,
    }  # fmt: skip
    return outcome(results(10), arms, TASK, CONFIG) | facts


def test_an_arm_is_the_mean_of_its_seeds_beside_none_and_the_oracle(found: dict[str, Any]) -> None:
    own = found["arms"]["posterior"]
    assert own["accuracy"] == pytest.approx(29 / ROWS)
    assert own["against_none"]["value"] == pytest.approx(7 / ROWS)
    assert own["gap_closed"] == pytest.approx(7 / 14)
    assert found["arms"]["oracle"]["gap_closed"] == pytest.approx(1.0)
    assert (found["arms"]["none"]["against_none"], found["arms"]["none"]["gap_closed"]) == (None, None)
    assert [own["by_seed"][seed]["accuracy"] for seed in "01"] == [28 / ROWS, 30 / ROWS]
    assert found["base"]["accuracy"] == 10 / ROWS


def test_without_an_oracle_there_is_no_gap() -> None:
    arms = outcome(results(10), {"none": arm(20), "random": arm(22)}, TASK, CONFIG)["arms"]
    assert arms["random"]["gap_closed"] is None
    assert arms["random"]["against_none"]["value"] == pytest.approx(2 / ROWS)
    alone = outcome(results(10), {"random": arm(22)}, TASK, CONFIG)["arms"]
    assert alone["random"]["against_none"] is None


def test_the_table_says_it_in_percent(found: dict[str, Any]) -> None:
    rows = {row[0]: row for row in table(found)}
    assert list(rows) == ["base", "none", "posterior*", "oracle"]
    assert rows["posterior*"][1:3] == ["100", "70.0"]
    assert rows["posterior*"][3].startswith("72.5 (")
    assert rows["posterior*"][3].endswith("[70.0–75.0]")
    assert rows["posterior*"][4].startswith("+17.5 (")
    assert rows["posterior*"][5] == "50"
    assert "[" not in rows["oracle"][3]


def test_the_caption_names_what_was_trained_and_what_is_missing(found: dict[str, Any]) -> None:
    text = " ".join(caption(found))
    for part in ("tiny", "rank 16", "epochs: 1", "batches of 16", "0.0001", "seeds 0, 1", "scored", "3 are training",
                 "2 held-out rows are set aside: row 3 of test.csv", "Arm paper is left out"):  # fmt: skip
        assert part in text
    assert "25 steps" in " ".join(caption(found | {"steps": 25}))


def test_what_comes_from_data_is_escaped(found: dict[str, Any]) -> None:
    shown = page(found)
    assert "&lt;no&gt;" in shown
    assert "<no>" not in shown
    assert picture(found).count("<circle") == 4
    assert "http" not in shown
    assert "| posterior* | 100 |" in markdown(found)


def test_the_right_share_is_of_the_rows_trained_on() -> None:
    examples = [
        Example(f"r{i}", (Message(role="user", content="?"),), "A", ("x", "y"), truth="AB"[i % 2]) for i in range(4)
    ]
    left: list[tuple[Outcome, str]] = [("keep", "A"), ("keep", "A"), ("drop", "A"), ("relabel", "B")]
    decisions = [Decision(e.id, what, "A", final, 1.0, "") for e, (what, final) in zip(examples, left, strict=True)]
    assert right_share(examples, decisions, TASK) == pytest.approx(2 / 3)
    unknown = [Example(e.id, e.messages, "A", e.options) for e in examples]
    assert right_share(unknown, decisions, TASK) is None
