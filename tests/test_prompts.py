from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.errors import ConfigError
from robustft.prompts import Prompt

QUESTION = Prompt("direct", "{question}\n\nAnswer:", frozenset({"question"}))


@given(st.text())
def test_a_value_is_put_in_as_it_is(text: str) -> None:
    assert QUESTION.fill(question=text) == f"{text}\n\nAnswer:"


def test_doubled_braces_stand_for_braces() -> None:
    assert Prompt("direct", '{question} {{"a": 1}}', frozenset({"question"})).fill(question="q") == 'q {"a": 1}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no slot at all", "prompts.direct: missing slot {question}"),
        ("{question} {context}", "prompts.direct: unknown slot {context}"),
        ("{question.__class__}", "prompts.direct: unknown slot {question.__class__}"),
        ("{question!r}", "prompts.direct: unknown slot {question!r}"),
        ("{question:>10}", "prompts.direct: unknown slot {question:>10}"),
        ("{question} {", "prompts.direct: "),
        ("{question} {}", "prompts.direct: unknown slot {}"),
    ],
)
def test_a_wrong_slot_is_named_when_the_prompt_is_made(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        QUESTION.overridden(text)
    assert str(error.value).startswith(complaint)


def test_no_override_changes_nothing() -> None:
    assert QUESTION.overridden(None) is QUESTION


def test_an_optional_slot_may_be_left_empty() -> None:
    prompt = Prompt("x", "{a}{b}", frozenset({"a"}), frozenset({"b"}))
    assert prompt.fill(a="1") == "1"
