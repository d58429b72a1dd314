"""Vectors that are kept: the same texts, embedded by the same model, are embedded once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustft.llm.embedder import Embedder
from robustft.run import write_atomically

_LARGEST = 1 << 28
"""Bytes beyond which a set of vectors isn't kept."""


class KeptVectors:
    """An embedder in front of another one, with a folder of what that has embedded: one file for a list of texts.

    Where the folder can't be read or written nothing is kept, and the texts are embedded anew each time.
    """

    def __init__(self, inner: Embedder, folder: Path, identity: str) -> None:
        self.inner, self.folder, self.identity = inner, folder, identity

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors, from their file where there is one."""
        path = self.folder / f"{self._digest(texts)}.npy"
        with suppress(OSError):
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
        vectors = await self.inner.embed(texts)
        if vectors.nbytes <= _LARGEST:
            with suppress(OSError):
                write_atomically(path, lambda part: _save(part, vectors))
        return vectors

    async def aclose(self) -> None:
        """Release the other one."""
        await self.inner.aclose()

    def _digest(self, texts: Sequence[str]) -> str:
        digest = hashlib.sha256(self.identity.encode())
        for text in texts:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.hexdigest()


def _save(path: Path, vectors: NDArray[np.float32]) -> None:
    # np.save adds .npy to a name, but not to an open file
    with path.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
