from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.records import Answer, Example, Relabel, by_row
from support import stored

ROWS = [Example(row, (), None) for row in "abcd"]


def part(expert: str, rows: Sequence[str]) -> list[Answer]:
    return [Answer(row, expert, "", None) for row in rows]


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(sorted), max_size=4))
def test_each_row_has_what_there_is_of_it_part_by_part(drawn: list[list[str]]) -> None:
    parts = [part(f"expert {i}", rows) for i, rows in enumerate(drawn)]
    meant = [[answer for own in parts for answer in own if answer.id == row.id] for row in ROWS]
    assert list(by_row(ROWS, parts)) == meant
    assert list(by_row(iter(ROWS), (iter(own) for own in parts))) == meant
    assert list(by_row(stored(Example, ROWS), [stored(Answer, own) for own in parts])) == meant


def test_a_row_of_which_nothing_was_said_has_an_empty_list() -> None:
    assert list(by_row(ROWS, [])) == [[], [], [], []]
    proposal = Relabel("c", "B", "reviewed")
    assert list(by_row(ROWS, [[proposal]])) == [[], [], [proposal], []]
    assert list(by_row([], [])) == []


@pytest.mark.parametrize(
    ("rows", "named"),
    [(["b", "a"], "a"), (["a", "b", "a", "d"], "a"), (["a", "nobody", "d"], "nobody"), (["d", "e"], "e")],
)
def test_a_part_in_another_order_or_of_other_rows_is_an_error(rows: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=f"Answer of row '{named}' is not in the rows' order"):
        list(by_row(ROWS, [part("direct", "abcd"), part("review", rows)]))


def test_no_more_is_read_than_the_row_and_the_head_of_each_part() -> None:
    read: list[str] = []

    def watched(answers: Sequence[Answer]) -> Iterator[Answer]:
        for answer in answers:
            read.append(answer.id)
            yield answer

    found = by_row(ROWS, [watched(part("direct", "abcd")), watched(part("review", "cd"))])
    assert [answer.id for answer in next(found)] == ["a"]
    assert read == ["a", "c", "b"]
