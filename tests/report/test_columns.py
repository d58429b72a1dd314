from __future__ import annotations

import math

import numpy as np
import pytest

from robustft.config import TaskConfig
from robustft.errors import ConfigError
from robustft.records import Answer, Decision, Example, Verdict
from robustft.report.columns import GIVEN, by_value, gather, nll_by_row, refuse_unknown, response_nll
from robustft.tasks import make_task
from support import stored

CHOICE = make_task(TaskConfig(kind="choice"))
NUMBER = make_task(TaskConfig(kind="number"))


Row = tuple[Example, Verdict, Decision]


def row(name: str, given: str, final: str, truth: str | None, votes: dict[str, str | None], **more: object) -> Row:
    example = Example(name, ({"role": "user", "content": "?"},), given, ("no", "yes"), truth, more)
    decision = Decision(name, "keep" if given == final else "relabel", given, final, 0.9, "why", votes)
    return example, Verdict(name, given != final, 0.8, "why"), decision


ROWS = [
    row("a", "A", "B", "B", {"direct": "B", "agent": "Y"}, who="kim"),
    row("b", "A", "A", "A", {"direct": None, "probe": "A"}, who="lee"),
    row("c", "B", "B", "A", {"probe": "B"}, who="kim"),
]


def test_rows_become_columns() -> None:
    examples, verdicts, decisions = zip(*ROWS, strict=True)
    columns = gather(examples, verdicts, decisions, CHOICE, ["who"])
    assert columns.given == ["no", "no", "yes"]
    assert columns.final == ["yes", "no", "yes"]
    assert columns.voices == {"direct": ["yes", None, None], GIVEN: ["no", "no", "yes"], "probe": [None, "no", "yes"]}
    assert columns.groups == {"who": ["kim", "lee", "kim"]}
    assert columns.right_before == [False, True, False]
    assert columns.right_after == [True, True, False]
    assert np.array_equal(columns.mistakes(), [[0, np.nan, np.nan], [np.nan, 0, 1]], equal_nan=True)


def test_groups_show_noise_and_gain() -> None:
    examples, verdicts, decisions = zip(*ROWS, strict=True)
    columns = gather(examples, verdicts, decisions, CHOICE, ["who"])
    kim, lee = by_value(columns, list(columns.groups["who"]))
    assert kim == {
        "value": "kim", "rows": 2, "noisy": 0.5, "relabelled": 0.5, "trained_on": 1.0, "before": 0.0, "after": 0.5,
    }  # fmt: skip
    assert (lee["value"], lee["before"], lee["after"]) == ("lee", 1.0, 1.0)


def test_the_same_number_in_other_words_is_one_answer() -> None:
    example = Example("a", ({"role": "user", "content": "?"},), "0.5", (), None)
    decision = Decision("a", "keep", "0.5", "0.5", 1.0, "why", {"direct": "0.50000000001"})
    columns = gather([example], [Verdict("a", False, 1.0, "")], [decision], NUMBER)
    assert columns.voices["direct"] == columns.voices[GIVEN]


def test_nll_is_a_mean_over_the_answers_that_have_one() -> None:
    said = [Answer("a", "direct", "", "A", 0.5), Answer("b", "direct", "", "A"), Answer("a", "probe", "", "A", 1.5)]
    found = nll_by_row([stored(Answer, said)], ["a", "b"])
    assert found[0] == 1.0
    assert math.isnan(found[1])


def test_responses_are_as_likely_as_the_answers_make_them_on_average() -> None:
    examples, verdicts, decisions = zip(*ROWS, strict=True)
    columns = gather(examples, verdicts, decisions, CHOICE)
    said = [
        Answer("a", "direct", "", "B", probs=(0.25, 0.75)),
        Answer("a", "probe", "", "B", probs=(0.05, 0.95)),
        Answer("b", "direct", "", None),
        Answer("c", "direct", "", "A", probs=(1.0, 0.0)),
    ]
    found = response_nll(columns, [stored(Answer, said)], ["a", "b", "c"])
    assert found[0] == pytest.approx([-math.log(0.15), -math.log(0.85)])  # given: no, final: yes
    assert np.isnan(found[1]).all()
    assert found[2] == pytest.approx(-math.log(0.001))  # not infinite


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no column 'whom'; they have who"):
        refuse_unknown(["whom"], [ROWS[0][0]])
    refuse_unknown(["whom"], [])
