from __future__ import annotations

from typing import Any

import pytest

from robustft.loading import make_config
from robustft.records import Example, Message
from robustft.tasks import make_task
from robustft.train.form import Form


def form(rows: list[Example], **task: Any) -> Form:
    config = make_config({"llm": {"backend": "scripted"}, "task": task})
    return Form.of(rows, "columns", make_task(config.task), config)


def row(response: str | None, options: tuple[str, ...] = ()) -> Example:
    return Example("r", (Message(role="user", content="?"),), response, options)


@pytest.mark.parametrize(
    ("response", "trained"),
    [
        ("three", "three"),
        ("three | 3", "three"),
        ("['three', '3']", "three"),
        ('["three", "3"]', "three"),
        ("['three']", "three"),
        ("Answer: three", "Answer: three"),
    ],
)
def test_of_several_accepted_answers_the_first_is_trained_on(response: str, trained: str) -> None:
    assert form([], kind="short").answer(row(response), response) == trained


@pytest.mark.parametrize(
    ("responses", "candidates"),
    [
        (["Dog", "cat."], ("red", "blue")),
        (["B) dog"], ("A) red", "B) blue")),
        (["B"], ("A", "B")),
        ([], ("A", "B")),
    ],
)
def test_candidates_are_written_as_the_responses_are(responses: list[str], candidates: tuple[str, ...]) -> None:
    rows = [row(response, ("cat", "dog")) for response in responses]
    assert form(rows).candidates(row(None, ("red", "blue"))) == candidates


def test_a_row_without_options_has_no_candidates() -> None:
    assert form([]).candidates(row("B")) == ()


def test_an_options_text_can_be_what_is_trained_on() -> None:
    rows = [row("B", ("cat", "dog"))]
    told = form(rows, target="{option}")
    assert told.answer(rows[0], "B") == "dog"
    assert told.candidates(rows[0]) == ("cat", "dog")
