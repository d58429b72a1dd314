from __future__ import annotations

import pytest

from robustft.records import Example, Message
from robustft.tasks.rendering import turns

LINES = ("A. no", "B. yes. really")


def asked(*messages: Message, instruction: str = "", lines: tuple[str, ...] = ()) -> list[Message]:
    return turns(Example("1", messages, None), instruction, lines)


def user(content: str) -> Message:
    return Message(role="user", content=content)


def test_a_row_without_a_turn_gets_one() -> None:
    assert asked() == [user("Answer the question above.")]
    assert asked(instruction=" Judge. ", lines=LINES) == [user("Judge.\n\nA. no\nB. yes. really")]


def test_a_row_that_the_assistant_ended_gets_a_turn_after_it() -> None:
    turn = Message(role="assistant", content="Hm.")
    assert asked(user("Up?"), turn) == [user("Up?"), turn, user("Answer the question above.")]
    assert asked(user("Up?"), turn, instruction="Judge.") == [user("Up?"), turn, user("Judge.")]


def test_instruction_question_and_options_have_a_blank_line_between_them() -> None:
    assert asked(user(" Up?\n"), instruction="Judge.", lines=LINES) == [user("Judge.\n\nUp?\n\nA. no\nB. yes. really")]


@pytest.mark.parametrize("listed", ["A. no\nB. yes. really", "(A) no\n (B) yes. really", "A: no\nB ) yes. really "])
def test_options_that_the_question_lists_are_not_listed_again(listed: str) -> None:
    assert asked(user(f"Up?\n{listed}"), lines=LINES) == [user(f"Up?\n{listed}".strip())]


@pytest.mark.parametrize("listed", ["no\nyes. really", "A. no", "B. no\nA. yes. really", "(A) no\n(AB) yes. really"])
def test_options_that_are_not_all_there_are_listed(listed: str) -> None:
    assert asked(user(f"Up?\n{listed}"), lines=LINES) == [user(f"Up?\n{listed}\n\nA. no\nB. yes. really")]


def test_one_line_of_options_is_listed_like_several() -> None:
    assert asked(user("Up?"), lines=("A. no",)) == [user("Up?\n\nA. no")]
    assert asked(user("Up?\nA) no"), lines=("A. no",)) == [user("Up?\nA) no")]


def test_two_options_are_told_apart_by_their_whole_text() -> None:
    lines = ("A. 1. 5", "B. 2. 5")
    assert asked(user("Which?\nA. 1. 5\nB. 2. 5"), lines=lines) == [user("Which?\nA. 1. 5\nB. 2. 5")]
    assert asked(user("Which?\nA. 5\nB. 5"), lines=lines) == [user("Which?\nA. 5\nB. 5\n\nA. 1. 5\nB. 2. 5")]
