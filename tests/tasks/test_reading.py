from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.tasks.choice import ChoiceTask
from robustft.tasks.number import NumberTask
from robustft.tasks.reading import after_reasoning, clean, marked
from robustft.tasks.short import ShortTask
from robustft.tasks.task import Reading, Task

TASKS: list[Task] = [ChoiceTask(("negative", "neutral", "positive")), ChoiceTask(), NumberTask(), ShortTask()]
PIECES = [
    *(
        "Answer:",
        "answer is",
        "final answer",
        "\\boxed{",
        "}",
        "<think>",
        "</think>",
        "<answer>",
        "####",
        "\n",
        " ",
        "B",
        "(c)",
    ),
    *(
        "positive",
        "12.5",
        "1,250",
        "-",
        "/",
        "or",
        "not",
        "**",
        "$",
        "wait",
        ".",
        '"',
        "'",
        "|",
        "Ｂ",
        "：",
        "½",
        "\u200f",
        "[",
        "]",
    ),
]
texts = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
@pytest.mark.parametrize("reading", ["tolerant", "strict"])
@given(text=texts)
def test_any_text_is_read_or_refused(task: Task, reading: Reading, text: str) -> None:
    found = task.locate(text, (), reading)
    task.label(text)
    if found is not None:
        assert 0 <= found.start < found.end <= len(text)
        assert task.agree(found.value, found.value)
        assert task.label(text[found.start : found.end]) is not None


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
@given(text=texts)
def test_the_two_readings_never_contradict(task: Task, text: str) -> None:
    strict, tolerant = task.extract(text, (), "strict"), task.extract(text)
    # but for 'the final answer is', which only the tolerant reading knows to make the rest a draft
    if strict is not None and tolerant is not None and "final" not in text.lower():
        assert task.agree(strict, tolerant)


@given(st.text(alphabet=string.printable + "ＡＢ：。　½−’\u200f٣𝐁Ⓒ", max_size=60))
def test_clean_keeps_every_characters_place(text: str) -> None:
    plain = clean(text)
    assert len(plain.origin) == len(plain.text)
    assert list(plain.origin) == sorted(plain.origin)
    for place, character in zip(plain.origin, plain.text, strict=True):
        assert character in clean(text[place]).text


def test_clean_leaves_superscripts() -> None:
    assert clean("12 m²").text == "12 m²"


@pytest.mark.parametrize(
    ("text", "start"),
    [("B", 0), ("<think>a</think>B", 16), ("a</think>B", 9), ("<think>B", None), ("a</think>B<think>c", None)],
)
def test_reasoning_ends_at_the_last_closing_tag(text: str, start: int | None) -> None:
    assert after_reasoning(text) == start


def test_final_mark_is_known() -> None:
    assert [place.final for place in marked("Answer: A\nFinal answer: B", 0, "tolerant")] == [False, True]
    assert [place.final for place in marked("Answer: A\nFinal answer: B", 0, "strict")] == [False, True]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
@pytest.mark.parametrize(
    "unit", ["Answer: ", "\\boxed{", "1,", "1 ", "B\n", "it's ", '"', "<think>", "= 12 x ", "is ", "-", "so. "]
)
def test_long_texts_are_read(task: Task, unit: str) -> None:
    # a regular expression that backtracks would not come back from these
    text = (unit * 100_000)[:20_000]
    assert task.extract(text + " x\n\nFinal answer: (", ()) is None
    assert task.write("1" if isinstance(task, NumberTask) else "A", text + "x")
