from __future__ import annotations

import pytest

from robustft.data.cells import RowError, answer, cell, listed, options, shown, text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("A", "A"),
        (" as given ", " as given "),
        ("", None),
        ("  ", None),
        (None, None),
        (0, "0"),
        (2.0, "2"),
        (2.5, "2.5"),
        (True, "true"),
        (["Paris", " the city of light ", None, 4], "Paris | the city of light | 4"),
        ([], None),
        (["", None], None),
    ],
)
def test_answer(value: object, expected: str | None) -> None:
    assert answer(value, "answer") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ("a", "b")),
        ('["a", "b", 3]', ("a", "b", "3")),
        ("", ()),
        (None, ()),
        ([], ()),
        ("[]", ()),
    ],
)
def test_options(value: object, expected: tuple[str, ...]) -> None:
    assert options(value, "options") == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["a"], "only one option"),
        ('["a", "b", " a "]', "' a ' occurs twice"),
        (["a", " "], "an option is empty"),
        (["a", None], "an option is empty"),
        (["a", ["b"]], "text or a number is expected"),
        ("['a', 'b']", "a JSON list is expected"),
        ("[" * 100_000, "a JSON list is expected"),
        ('{"A": "a"}', "a list is expected"),
        ("see notes", "a JSON list is expected"),
        (3, "a list is expected"),
    ],
)
def test_options_that_are_none(value: object, reason: str) -> None:
    with pytest.raises(RowError, match=reason) as caught:
        options(value, "choices")
    assert caught.value.field == "choices"


def test_other_cells() -> None:
    assert text(None, "q") == ""
    assert listed('[["a", "b"]]', "history") == [["a", "b"]]
    assert shown("x" * 99) == "'" + "x" * 56 + "..."
    with pytest.raises(RowError, match="text is expected, not 5"):
        text(5, "q")
    with pytest.raises(RowError, match="text or a number is expected"):
        answer({"text": "a"}, "answer")
    with pytest.raises(RowError, match="no such column; the row has a, b"):
        cell({"a": 1, "b": 2}, "c")
