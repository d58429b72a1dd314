from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import TaskConfig
from robustft.records import Example, Message
from robustft.tasks import make_task
from robustft.tasks.options import letters
from robustft.tasks.wording import Wording

TASK = make_task(TaskConfig())
ANIMALS, COLOURS = ("cat", "dog", "hen"), ("red", "blue")


def row(response: str | None, options: tuple[str, ...] = ANIMALS) -> Example:
    return Example("r", (Message(role="user", content="?"),), response, options)


@pytest.mark.parametrize(
    ("responses", "written"),
    [
        (["B", "C"], "B"),
        (["b", "c"], "b"),
        (["1", "2"], "1"),
        (["dog", "hen"], "blue"),
        (["Dog.", "HEN"], "blue"),
        (["B) dog", "C) hen"], "B) blue"),
        (["Answer: B", "Answer: C"], "Answer: B"),
        (["dog", "dog", "B"], "blue"),
        ([], "B"),
    ],
)
def test_a_row_without_a_response_is_written_as_the_others_are(responses: list[str], written: str) -> None:
    wording = Wording.of([row(None), *map(row, responses)], TASK)
    assert wording.write("B", row(None, COLOURS)) == written


def test_a_row_with_a_response_keeps_its_own_form() -> None:
    wording = Wording.of([row("dog"), row("hen"), row("B")], TASK)
    assert wording.write("C", row("B")) == "C"
    assert wording.write("C", row("cat")) == "hen"


def test_an_open_answer_is_written_as_it_is() -> None:
    short = make_task(TaskConfig(kind="short"))
    assert Wording.of([row("four", ())], short).write("five", row(None, ())) == "five"


texts = st.lists(st.text("abcdefgh AB12.)", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=2, max_size=4)
options = texts.filter(lambda found: len({text.strip(". ").casefold() for text in found}) == len(found)).map(tuple)


@given(options, options, st.data())
def test_what_is_written_is_read_back(there: tuple[str, ...], here: tuple[str, ...], data: st.DataObject) -> None:
    response = data.draw(st.sampled_from([*letters(len(there)), *there, *(f"Answer: {name}" for name in letters(2))]))
    wording = Wording.of([row(response, there)], TASK)
    for value in letters(len(here)):
        assert TASK.label(wording.write(value, row(None, here)), here) == value
