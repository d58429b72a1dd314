from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.engine.shards import Shard, deal, packed_rows, tables_of_rows, unpacked_rows
from robustft.llm.asking import Row
from robustft.records import Answer, Example, Message


def example(n: int) -> Example:
    source = {"id": n, "tags": ["a", None]}
    return Example(f"r{n}", (Message(role="user", content=f"Ask {n}?\n"),), None, ("yes", "no"), "A", source)


def answer(n: int, expert: str) -> Answer:
    return Answer(f"r{n}", expert, "Answer: A", "A", probs=(0.25, 0.75), nll=0.5, tokens_in=n)


def read(shards: list[Shard]) -> list[Row]:
    return [row for shard in shards for row in unpacked_rows(pq.read_table(shard.rows))]


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=9), st.sampled_from(["rows", "answers"]))
def test_rows_come_back_with_what_is_shown_beside_them(beside: list[list[int]], kind: str) -> None:
    rows: list[Row] = []
    for n, shown in enumerate(beside):
        if kind == "rows":
            rows.append((example(n), [example(i) for i in shown]))
        else:
            rows.append((example(n), [answer(n, f"e{i}") for i in shown]))
    assert list(unpacked_rows(packed_rows(rows))) == rows


@pytest.mark.parametrize("size", [1, 3, 4, 10, 100])
def test_shards_hold_all_rows_in_their_order(size: int, tmp_path: Path) -> None:
    rows: list[Row] = [(example(n),) for n in range(10)]
    shards = deal(tables_of_rows(iter(rows), size), tmp_path, "key")
    assert len(shards) == -(-10 // size)
    assert read(shards) == rows


def test_the_same_rows_have_the_same_shards_and_others_go(tmp_path: Path) -> None:
    rows: list[Row] = [(example(n),) for n in range(6)]
    first = deal(tables_of_rows(rows, 2), tmp_path, "key")
    for shard in first:
        shard.done.write_bytes(b"")
        shard.ledger.write_bytes(b"")
    written = [shard.rows.stat().st_mtime_ns for shard in first]
    assert deal(tables_of_rows(rows, 2), tmp_path, "key") == first
    assert [shard.rows.stat().st_mtime_ns for shard in first] == written
    changed = deal(tables_of_rows([*rows[:5], (example(99),)], 2), tmp_path, "key")
    assert changed[:2] == first[:2]
    assert not first[2].done.exists()
    assert first[2].ledger.exists()  # its calls are paid for
    asked_otherwise = deal(tables_of_rows(rows, 2), tmp_path, "another key")
    assert not any(shard.done.exists() for shard in [*first, *changed, *asked_otherwise])


def test_no_rows_have_no_shards(tmp_path: Path) -> None:
    assert deal(tables_of_rows([], 2), tmp_path, "key") == []
