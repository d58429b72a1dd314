from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import PriceConfig, TaskConfig
from robustft.records import Answer, Decision, Example, Outcome, Verdict
from robustft.report import metrics
from robustft.report.metrics import (
    against_truth,
    count_decisions,
    count_missing,
    count_readings,
    detection,
    expected_calibration_error,
    total_calls,
)
from robustft.tasks import make_task
from support import stored

TASK = make_task(TaskConfig(kind="choice", options=("no", "yes")))


Row = tuple[Example, Verdict, Decision]


def row(given: str, truth: str, final: str, outcome: Outcome, noisy: bool, confidence: float = 1.0) -> Row:
    example = Example("x", ({"role": "user", "content": "?"},), given, ("no", "yes"), truth)
    return example, Verdict("x", noisy, 1.0, ""), Decision("x", outcome, given, final, confidence, "")


def test_a_small_case_by_hand() -> None:
    rows = [
        row("A", "A", "A", "keep", noisy=False),
        row("A", "A", "B", "relabel", noisy=True),  # right, changed
        row("A", "A", "A", "drop", noisy=True),  # right, lost
        row("B", "A", "A", "relabel", noisy=True),  # wrong, mended
        row("B", "A", "B", "keep", noisy=False),  # wrong, missed
    ]
    examples, verdicts, decisions = zip(*rows, strict=True)
    truth = against_truth(examples, verdicts, decisions, TASK)
    assert truth is not None
    assert truth["noise_rate"] == 0.4
    assert truth["detection"] == {"precision": pytest.approx(1 / 3), "recall": 0.5, "f1": 0.4}
    assert truth["label_accuracy"] == {"before": 0.6, "after_kept": 0.5, "after_all": 0.6}
    assert truth["coverage"] == 0.8
    assert truth["false_correction_rate"] == pytest.approx(2 / 3)
    assert truth["ece"] == pytest.approx(0.4)


def test_without_truth_there_is_nothing_to_say() -> None:
    example, verdict, decision = row("A", "A", "A", "keep", noisy=False)
    blind = Example("x", example.messages, "A", example.options)
    assert against_truth([blind], [verdict], [decision], TASK) is None
    assert count_decisions([decision]) == {"keep": 1, "relabel": 0, "drop": 0, "review": 0}


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_f1_is_the_harmonic_mean(pairs: list[tuple[bool, bool]]) -> None:
    flagged, wrong = np.array([p[0] for p in pairs], bool), np.array([p[1] for p in pairs], bool)
    found = detection(flagged, wrong)
    precision, recall, f1 = found["precision"], found["recall"], found["f1"]
    if precision and recall:
        assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
    else:
        assert not f1


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_ece_is_a_share_and_zero_for_the_sure_and_right(rows: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    ece = expected_calibration_error(confidence, right)
    assert ece is not None
    assert 0.0 <= ece <= 1.0
    assert expected_calibration_error(right.astype(float), right) == 0.0
    # |mean gap| is a lower bound, whatever the bins
    assert ece >= abs(confidence.mean() - right.mean()) - 1e-9


def test_readings_count_what_each_reading_could_read() -> None:
    example = Example("x", ({"role": "user", "content": "?"},), "A", ("no", "yes"))
    answers = [Answer("x", "direct", "Answer: B", "B"), Answer("x", "direct", "**yes**", "B")]
    answers.append(Answer("x", "direct", "", None))
    counts = count_readings([example], [stored(Answer, answers)], TASK)
    assert counts == {"direct": {"answers": 3, "abstained": 1, "read": 3, "strict": 1, "tolerant": 2}}


def test_only_the_first_rows_are_read_again_and_every_answer_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "READ_AGAIN", 2)
    examples = [Example(row, ({"role": "user", "content": "?"},), "A", ("no", "yes")) for row in "abcd"]
    direct = [Answer(row, "direct", "Answer: B" if row != "d" else "", "B" if row != "d" else None) for row in "abcd"]
    review = [Answer(row, "review", "**no**", "A") for row in "bd"]
    counts = count_readings(examples, [stored(Answer, direct), stored(Answer, review)], TASK)
    assert counts == {
        "direct": {"answers": 4, "abstained": 1, "read": 2, "strict": 2, "tolerant": 2},
        "review": {"answers": 2, "abstained": 0, "read": 1, "strict": 0, "tolerant": 1},
    }


def test_calls_of_all_stages_add_up() -> None:
    stages = {"a": {"calls": {"requests": 2, "cached": 1}, "wall_s": 1.5}, "b": {"calls": {"requests": 3}, "wall_s": 1}}
    total = total_calls(stages, None)
    assert total["cost"] is None
    assert (total["requests"], total["cached"], total["failed"], total["wall_s"]) == (5, 1, 0, 2.5)


def test_tokens_are_money() -> None:
    stages = {"a": {"calls": {"prompt_tokens": 2_000_000, "completion_tokens": 500_000}}}
    assert total_calls(stages, PriceConfig(prompt=0.25, completion=2))["cost"] == 1.5


def test_answers_that_never_came_are_counted_by_why() -> None:
    said = [Answer(str(i), "direct", "", None, finish=finish) for i, finish in enumerate(["error", "stop", "unasked"])]
    assert count_missing([stored(Answer, said), stored(Answer, said[:1])]) == {"error": 2, "unasked": 1}
