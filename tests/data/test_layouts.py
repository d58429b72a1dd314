from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft.config import DataConfig
from robustft.data.cells import RowError
from robustft.data.layouts import Layout, Turns, detect, response_column, to_turns, with_response
from robustft.errors import DataError
from robustft.records import Message

DATA = DataConfig()
SYSTEM = Message(role="system", content="Be brief.")
HELLO = Message(role="user", content="Hello?")
HI = Message(role="assistant", content="Hi.")
WHY = Message(role="user", content="Why?")


@pytest.mark.parametrize(
    ("columns", "layout"),
    [
        (["question", "answer", "options"], "columns"),
        (["question", "messages"], "messages"),
        (["id", "conversations", "system"], "sharegpt"),
        (["messages"], "messages"),
        (["instruction", "input", "output", "text"], "alpaca"),
        (["prompt", "completion"], "prompt-completion"),
    ],
)
def test_detect(columns: list[str], layout: str) -> None:
    assert detect(columns, DATA) == layout


def test_detect_shows_the_way_out() -> None:
    with pytest.raises(DataError, match=r"columns text, label; .* data\.question and data\.response"):
        detect(["text", "label"], DATA)
    assert detect(["text", "label"], DataConfig(question="text")) == "columns"
    assert detect(["question"], DataConfig(layout="alpaca")) == "alpaca"


def test_a_file_that_fits_two_layouts_is_not_guessed() -> None:
    with pytest.raises(DataError, match=r"columns \('question'\) or as messages; say which in data\.layout"):
        detect(["messages", "question", "answer"], DATA)
    assert detect(["messages", "question", "answer"], DataConfig(layout="messages")) == "messages"


CASES: list[tuple[Layout, dict[str, Any], Turns]] = [
    ("columns", {"question": "Why?", "answer": "because"}, Turns((WHY,), "because")),
    ("columns", {"question": "Why?", "answer": None}, Turns((WHY,), None)),
    ("alpaca", {"instruction": "Why?", "output": "because"}, Turns((WHY,), "because")),
    ("alpaca", {"instruction": "", "input": "Why?", "output": " "}, Turns((WHY,), None)),
    (
        "alpaca",
        {"instruction": "Ask", "input": "Why?", "output": 5},
        Turns((Message(role="user", content="Ask\nWhy?"),), "5"),
    ),
    (
        "alpaca",
        {
            "instruction": "Why?",
            "input": None,
            "output": "because",
            "system": "Be brief.",
            "history": [["Hello?", "Hi."]],
        },
        Turns((SYSTEM, HELLO, HI, WHY), "because"),
    ),
    (
        "alpaca",
        {"instruction": "Why?", "output": "x", "system": "", "history": '[["Hello?", "Hi."]]'},
        Turns((HELLO, HI, WHY), "x"),
    ),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "so"}], "system": "Be brief."},
        Turns((SYSTEM, WHY), "so"),
    ),
    (
        "sharegpt",
        {
            "conversations": [{"from": "system", "value": "Be brief."}, {"from": "user", "value": "Why?"}],
            "system": "no",
        },
        Turns((SYSTEM, WHY), None),
    ),
    ("messages", {"messages": [HELLO, HI, WHY, {"role": "assistant", "content": "so"}]}, Turns((HELLO, HI, WHY), "so")),
    ("messages", {"messages": json.dumps([SYSTEM, HELLO, HI])}, Turns((SYSTEM, HELLO), "Hi.")),
    ("messages", {"messages": [Message(role="system", content=""), HELLO, HI]}, Turns((HELLO,), "Hi.")),
    ("messages", {"messages": [HELLO, {"role": "assistant", "content": None}]}, Turns((HELLO,), None)),
    ("prompt-completion", {"prompt": "Why?", "completion": " so"}, Turns((WHY,), " so")),
    (
        "prompt-completion",
        {"prompt": "[1, 2]?", "completion": ""},
        Turns((Message(role="user", content="[1, 2]?"),), None),
    ),
    ("prompt-completion", {"prompt": [SYSTEM, HELLO], "completion": [HI]}, Turns((SYSTEM, HELLO), "Hi.")),
    ("prompt-completion", {"prompt": json.dumps([HELLO]), "completion": json.dumps([HI])}, Turns((HELLO,), "Hi.")),
    ("prompt-completion", {"prompt": [HELLO], "completion": []}, Turns((HELLO,), None)),
]


@pytest.mark.parametrize(("layout", "values", "turns"), CASES)
def test_to_turns(layout: Layout, values: dict[str, Any], turns: Turns) -> None:
    assert to_turns(values, layout, DATA) == turns


@pytest.mark.parametrize(("layout", "values", "turns"), CASES)
def test_with_response_changes_nothing_else(layout: Layout, values: dict[str, Any], turns: Turns) -> None:
    before = json.dumps(values)
    changed = with_response(values, layout, DATA, "another")
    assert to_turns(changed, layout, DATA) == Turns(turns.messages, "another")
    assert list(changed) == list(values)
    column = response_column(layout, DATA)
    assert {**changed, column: 0} == {**values, column: 0}
    assert json.dumps(values) == before


@settings(deadline=None)
@given(response=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_response_is_read_back(response: str) -> None:
    for layout, values, turns in CASES:
        changed = with_response(values, layout, DATA, response)
        assert to_turns(changed, layout, DATA) == Turns(turns.messages, response if response.strip() else None)


def test_context_stands_before_the_question() -> None:
    values = {"question": "Why?", "answer": "A", "passage": "It rained."}
    assert to_turns(values, "columns", DataConfig(context="passage")).messages[0]["content"] == "It rained.\n\nWhy?"
    assert to_turns({**values, "passage": None}, "columns", DataConfig(context="passage")).messages == (WHY,)


@pytest.mark.parametrize(
    ("layout", "values", "field", "reason"),
    [
        ("columns", {"answer": "A"}, "question", "no such column; the row has answer"),
        ("columns", {"question": "Why?"}, "answer", "no such column"),
        ("columns", {"question": " \n", "answer": "A"}, "question", "the question is empty"),
        ("columns", {"question": None, "answer": "A"}, "question", "the question is empty"),
        ("columns", {"question": 5, "answer": "A"}, "question", "text is expected, not 5"),
        ("columns", {"question": "Why?", "answer": {"a": 1}}, "answer", "text or a number"),
        ("alpaca", {"instruction": "Why?"}, "output", "no such column"),
        ("alpaca", {"instruction": "", "input": "", "output": "A"}, "instruction", "empty"),
        ("alpaca", {"instruction": "Why?", "output": "A", "history": [["a"]]}, "history", "a pair"),
        ("alpaca", {"instruction": "Why?", "output": "A", "system": 1}, "system", "text is expected"),
        ("messages", {"messages": []}, "messages", "found none"),
        ("messages", {"messages": "hello"}, "messages", "a JSON list"),
        ("messages", {"messages": [HI]}, "messages", "found none"),
        ("messages", {"messages": [HELLO, WHY]}, "messages", "found user, user"),
        ("messages", {"messages": [HI, HELLO, HI]}, "messages", "found assistant, user"),
        ("messages", {"messages": [HELLO, SYSTEM]}, "messages", "found user, system"),
        ("messages", {"messages": [{"role": "tool", "content": "x"}]}, "messages", "unknown role 'tool'"),
        ("messages", {"messages": [{"role": ["user"], "content": "x"}]}, "messages", "unknown role"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages", "text is expected"),
        ("messages", {"messages": [{"role": "user", "content": " "}, HI]}, "messages", "the question is empty"),
        ("messages", {"messages": [5]}, "messages", "role and content; found 5"),
        ("sharegpt", {"conversations": {"from": "human"}}, "conversations", "a list is expected"),
        ("prompt-completion", {"prompt": "Why?"}, "completion", "no such column"),
        ("prompt-completion", {"prompt": 5, "completion": "A"}, "prompt", "a list is expected"),
    ],
)
def test_malformed_rows(layout: Layout, values: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(RowError, match=reason) as caught:
        to_turns(values, layout, DATA)
    assert caught.value.field == field
