"""The local model's hidden states as embeddings: what it makes of a text on its way to the next word."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robustft.llm.local.batching import cut
from robustft.llm.local.weights import Weights

DEPTH = 2 / 3
"""Share of the layers after which the states are read: the last ones are about the next word rather than the text."""
_BATCH_TOKENS = 8192


class HiddenStates:
    """Embeds a text by the mean over its tokens of the states two thirds of the way up, standardised over the texts.

    As with TF-IDF only rows of one call can be compared.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows (N, width of the model)."""
        return await asyncio.to_thread(self._embed, texts)

    async def aclose(self) -> None:
        """Leave the model to who opened it."""

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        tokenizer, model = self.weights.tokenizer, self.weights.model
        limit = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", 1 << 30)
        # an empty text has no token of its own
        tokens = [tokenizer(text or " ", add_special_tokens=False)["input_ids"][:limit] for text in texts]
        rows = np.zeros((len(texts), model.config.get_text_config(decoder=True).hidden_size), dtype=np.float32)
        for batch in cut(range(len(tokens)), lambda row: len(tokens[row]), _BATCH_TOKENS):
            rows[batch] = self._states([tokens[row] for row in batch])
        if not len(rows):
            return rows
        rows -= rows.mean(axis=0)
        rows /= np.maximum(rows.std(axis=0), 1e-6)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.maximum(lengths, 1e-6), dtype=np.float32)

    def _states(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the mean states (B, width) of sequences of tokens, padded on the right."""
        import torch

        model, longest = self.weights.model, max(map(len, tokens))
        ids = torch.zeros((len(tokens), longest), dtype=torch.long)
        mask = torch.zeros((len(tokens), longest), dtype=torch.long)
        for row, sequence in enumerate(tokens):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        ids, mask = ids.to(model.device), mask.to(model.device)
        with torch.inference_mode():
            layers = model.base_model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        states = layers[round(DEPTH * (len(layers) - 1))].float() * mask[..., None]
        mean = states.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return np.asarray(mean.cpu().numpy(), dtype=np.float32)
