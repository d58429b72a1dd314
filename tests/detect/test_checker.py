from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import TaskConfig
from robustft.detect.checker import read_yes_no, unanimous, verdict
from robustft.records import Answer, Example, Message
from robustft.tasks import make_task

TASK = make_task(TaskConfig(kind="choice"))
VOTE = st.none() | st.sampled_from("ABC")


def example(response: str | None) -> Example:
    return Example("x", (Message(role="user", content="?"),), response, ("a", "b", "c"))


def answers(**votes: str | None) -> list[Answer]:
    return [Answer("x", expert.replace("_", "-"), "", value) for expert, value in votes.items()]


@given(st.sampled_from("ABC"), st.lists(VOTE, min_size=1, max_size=4))
def test_clean_only_where_every_expert_says_the_given_response(given: str, votes: list[str | None]) -> None:
    said = [Answer("x", f"e{i}", "", vote) for i, vote in enumerate(votes)]
    noisy, confidence, _ = unanimous(given, said, TASK)
    assert noisy == (not all(vote == given for vote in votes))
    assert 0.0 <= confidence <= 1.0


def test_an_abstention_confirms_nothing_and_contradicts_nothing() -> None:
    noisy, confidence, reason = unanimous("A", answers(direct="A", reasoning=None), TASK)
    assert (noisy, confidence) == (True, 0.0)
    assert reason == "not unanimous: reasoning gave no answer"


def test_a_row_with_no_response_is_noisy_whoever_says_what() -> None:
    assert verdict(example(None), [], TASK).noisy
    assert verdict(example(None), answers(direct="A", agent="N"), TASK).noisy


@pytest.mark.parametrize(
    ("said", "noisy"),
    [
        (answers(direct="B", agent="N"), False),
        (answers(direct="A", agent="Y"), True),
        (answers(direct="A", agent=None), False),  # an unreadable agent: unanimity decides
        (answers(direct="B", agent=None), True),
        (answers(self_select="Y"), True),
        (answers(self_select=None), False),  # nobody said that it is wrong
        ([], False),
    ],
)
def test_the_judge_decides_where_it_can_be_read(said: list[Answer], noisy: bool) -> None:
    assert verdict(example("A"), said, TASK).noisy == noisy


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Wrong: Y", "Y"),
        ("wrong: **no**", "N"),
        ("N", "N"),
        ("Yes, because the sentence is positive.", "Y"),
        ("I looked at it.\nWrong: N", "N"),
        ("Wrong: Y\nWrong: N", None),
        ("Nothing speaks against it", None),
        ("", None),
    ],
)
def test_a_judge_is_read_or_not(text: str, value: str | None) -> None:
    assert read_yes_no(text) == value
