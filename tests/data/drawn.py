"""Rows to train on: simple ones, and any that hypothesis thinks of."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from robustft.data.train_rows import TrainRow
from robustft.records import Message

WHY = (Message(role="user", content="Why?"),)

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
FILLED = TEXTS.filter(lambda text: bool(text.strip()))
CELLS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.lists(TEXTS, max_size=2)
COLUMNS = st.sampled_from(["id", "question", "prompt", "text", "instruction", "messages", "source_id", "é"])


@st.composite
def train_rows(draw: st.DrawFn) -> TrainRow:
    system = [Message(role="system", content=text) for text in draw(st.lists(FILLED, max_size=1))]
    pairs = draw(st.lists(st.tuples(TEXTS, TEXTS), max_size=2))
    turns = [
        Message(role=role, content=text)
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    last = Message(role="user", content=draw(FILLED))
    source = draw(st.dictionaries(COLUMNS, CELLS, max_size=4))
    return TrainRow("1", (*system, *turns, last), draw(FILLED), draw(st.none() | TEXTS), source)


def row_of(row_id: str = "1", response: str = "so", rejected: str | None = None, **source: Any) -> TrainRow:
    return TrainRow(row_id, WHY, response, rejected, source)
