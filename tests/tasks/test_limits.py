"""Where reading stops: the last length that is read, and the first that isn't."""

from __future__ import annotations

import pytest

from robustft.tasks.choice import ChoiceTask
from robustft.tasks.number import NumberTask
from robustft.tasks.reading import LONGEST
from robustft.tasks.short import ShortTask

CHOICE, NUMBER, SHORT = ChoiceTask(("negative", "neutral", "positive")), NumberTask(), ShortTask()
COLOURS = [
    *("red", "green", "blue", "black", "white", "grey", "brown", "pink"),
    *("orange", "purple", "cyan", "olive", "teal", "navy", "lime", "gold"),
]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12 small red apples", "12"),
        ("12 very small red apples", None),
        ("9" * 60, "9" * 60),
        ("9" * 61, None),
        ("1e60", "1" + "0" * 60),
        ("1e61", None),
        ("1e-60", "0." + "0" * 59 + "1"),
        ("1e-61", None),
        ("5 hundred", "500"),
        ("5 thousand", "5000"),
        ("5k", "5000"),
        ("5 million", "5000000"),
        ("5 mn", "5000000"),
        ("$5m", "5000000"),
        ("5 billion", "5000000000"),
        ("5 bn", "5000000000"),
        ("$5B", "5000000000"),
        ("5 trillion", "5000000000000"),
        ("5 m", "5"),
        ("5M", None),
    ],
)
def test_numbers(text: str, value: str | None) -> None:
    assert NUMBER.label(text) == value


@pytest.mark.parametrize(("form", "most"), [("Answer: {}", 15), ("{}", 5), ("{}.", 3), ("Let me think.\n\n{}", 5)])
def test_words_of_a_phrase(form: str, most: int) -> None:
    longest = " ".join(COLOURS[:most])
    assert SHORT.extract(form.format(longest)) == longest
    assert SHORT.extract(form.format(f"{longest} {COLOURS[most]}")) is None


def test_an_answer_begins_within_so_many_characters_of_its_mark() -> None:
    assert CHOICE.extract(f"Answer:{' ' * (LONGEST - 1)}B") == "B"
    assert CHOICE.extract(f"Answer:{' ' * LONGEST}B") is None


def test_a_line_is_an_answer_by_itself_up_to_so_many_characters() -> None:
    unit = "apples"
    within = f"12{' ' * (LONGEST - 2 - len(unit))}{unit}"
    assert len(within) == LONGEST
    assert NUMBER.extract(within) == "12"
    assert NUMBER.extract(f"12 {within[2:]}") is None


def test_a_supposition_reaches_so_far() -> None:
    assert CHOICE.extract(f"if {'x' * 72} the answer is B.") is None
    assert CHOICE.extract(f"if {'x' * 73} the answer is B.") == "B"
