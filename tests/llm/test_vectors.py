"""Vectors are embedded once: for the same model and the same texts in the same order, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from robustft.config import LLMConfig
from robustft.errors import ConfigError
from robustft.llm import vectors
from robustft.llm.embedder import open_embedder
from robustft.llm.models import Models
from robustft.llm.vectors import KeptVectors
from robustft.tasks import make_task
from support import MakeConfig


class Counting:
    """Embeds texts by their lengths, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed = False

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += 1
        return np.array([[len(text), self.asked] for text in texts], dtype=np.float32).reshape(-1, 2)

    async def aclose(self) -> None:
        self.closed = True


async def test_the_same_texts_are_embedded_once_in_any_process(tmp_path: Path) -> None:
    inner = Counting()
    first = await KeptVectors(inner, tmp_path / "vectors", "m").embed(["a", "bc", "\ud800"])
    again = await KeptVectors(inner, tmp_path / "vectors", "m").embed(["a", "bc", "\ud800"])
    assert inner.asked == 1
    assert again.tolist() == first.tolist() == [[1, 1], [2, 1], [1, 1]]
    assert again.dtype == np.float32
    assert [path.suffix for path in (tmp_path / "vectors").iterdir()] == [".npy"]


@pytest.mark.parametrize(
    ("identity", "texts"),
    [("m", ["b", "a"]), ("m", ["ab"]), ("m", ["a"]), ("m", ["a", "b", ""]), ("n", ["a", "b"]), ("m", [])],
)
async def test_other_texts_another_order_and_another_model_are_embedded_anew(
    tmp_path: Path, identity: str, texts: list[str]
) -> None:
    inner = Counting()
    await KeptVectors(inner, tmp_path, "m").embed(["a", "b"])
    found = await KeptVectors(inner, tmp_path, identity).embed(texts)
    assert inner.asked == 2
    assert found.tolist() == [[len(text), 2] for text in texts]


async def test_a_set_that_is_too_large_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_LARGEST", 16)
    inner = Counting()
    kept = KeptVectors(inner, tmp_path, "m")
    for _ in range(2):
        await kept.embed(["a", "b"])
        await kept.embed(["a", "b", "c"])
    assert inner.asked == 3
    await kept.aclose()
    assert inner.closed


async def test_a_folder_that_cannot_be_used_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "vectors").write_text("no folder", encoding="utf-8")
    inner = Counting()
    kept = KeptVectors(inner, tmp_path / "vectors", "m")
    for times in (1, 2):
        assert (await kept.embed(["a", "bc"])).tolist() == [[1, times], [2, times]]


async def test_an_embedder_is_opened_once_and_tfidf_needs_no_folder(tmp_path: Path, make: MakeConfig) -> None:
    config = make(tmp_path / "d.csv")
    async with Models(config, make_task(config.task), list) as models:
        opened = await models.embedder()
        assert type(opened) is type(open_embedder("tfidf", LLMConfig()))
        assert await models.embedder() is opened
        await opened.embed(["a text"])
    assert not (tmp_path / "cache").exists()


async def test_several_embedders_stand_side_by_side_and_the_first_counts_most(tmp_path: Path, make: MakeConfig) -> None:
    config, texts = make(tmp_path / "d.csv", embedder=["tfidf", "tfidf"]), ["red car", "red pear", "old house"]
    alone = await open_embedder("tfidf", LLMConfig()).embed(texts)
    async with Models(config, make_task(config.task), list) as models:
        rows = await (await models.embedder()).embed(texts)
    first, second = np.hsplit(rows, 2)
    assert first == pytest.approx(2 * second)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(3))
    assert rows @ rows.T == pytest.approx(alone @ alone.T, abs=1e-6)


async def test_hidden_states_need_a_local_model(tmp_path: Path, make: MakeConfig) -> None:
    config = make(tmp_path / "d.csv", embedder="hidden")
    async with Models(config, make_task(config.task), list) as models:
        with pytest.raises(ConfigError, match=r"set llm\.backend: local") as caught:
            await models.embedder()
    assert "\n" not in str(caught.value)
