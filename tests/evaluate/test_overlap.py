from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.evaluate.overlap import Leak, find_overlap, nearest
from robustft.records import Example, Message
from support import Angles

OPTIONS = ("negative", "neutral", "positive")


def row(name: str, asked: str, options: tuple[str, ...] = OPTIONS) -> Example:
    return Example(name, (Message(role="user", content=asked),), "A", options)


async def test_rows_are_the_same_word_for_word_or_nearly() -> None:
    training = [row("t0", "at 0"), row("t1", "at 90"), row("t2", "at 200")]
    held_out = [row("h0", "  AT   0"), row("h1", "at 100"), row("h2", "at 45")]
    found = await find_overlap(held_out, training, Angles())
    assert (found.rows, found.exact, found.near, found.found) == (3, 1, 1, 2)
    assert found.first[0] == Leak("h0", "t0", 1.0)
    assert (found.first[1].id, found.first[1].training_id) == ("h1", "t1")
    assert found.first[1].cosine == pytest.approx(np.cos(np.radians(10)), abs=1e-6)
    assert found.facts()["first"][0] == {"id": "h0", "training_id": "t0", "cosine": 1.0}


async def test_the_same_question_with_other_options_is_another_row() -> None:
    class Far(Angles):
        async def embed(self, texts: object) -> np.ndarray:
            return np.eye(2, dtype=np.float32)

    pair = [row("h", "pick one", ("1", "2"))], [row("t", "pick one", ("3", "4"))]
    assert (await find_overlap(*pair, Far())).found == 0


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 7), st.integers(0, 999))
def test_blocks_find_what_one_product_finds(n: int, m: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, others = rng.standard_normal((n, 5)).astype(np.float32), rng.standard_normal((m, 5)).astype(np.float32)
    found = nearest(vectors, others, block)
    whole = vectors @ others.T
    assert [place for place, _ in found] == whole.argmax(axis=1).tolist()
    assert [cosine for _, cosine in found] == pytest.approx(whole.max(axis=1).tolist(), rel=1e-5, abs=1e-6)


async def test_questions_about_one_long_passage_are_other_rows() -> None:
    class Beginnings(Angles):
        """Reads the first words alone of a long text, as an embedder with a window does."""

        async def embed(self, texts: Sequence[str]) -> np.ndarray:
            return await super().embed([text if len(text) < 1000 else "at 0" for text in texts])

    passage = "It was a long day. " * 80
    training = [row("t", f"{passage}\n\nHow warm? at 0")]
    other, same = row("other", f"{passage}\n\nHow long? at 90"), row("same", f"{passage}\n\nHow very warm? at 2")
    found = await find_overlap([other, same], training, Beginnings())
    assert [(leak.id, leak.training_id) for leak in found.first] == [("same", "t")]
