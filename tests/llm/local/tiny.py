"""Tiny transformers models with random weights, and the slow obvious computation that batched passes must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("torch", reason="the local backend needs robustft[local]")
pytest.importorskip("transformers", reason="the local backend needs robustft[local]")

import torch
import transformers

VOCABULARY = 50

# models this small lose more to a second thread than they gain
torch.set_num_threads(1)


def tiny_model(sliding_window: int | None = None) -> Any:
    """A two-layer model in float32; with a window its layout isn't free. Large weights, so that every place matters."""
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=sliding_window,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    )
    return transformers.MistralForCausalLM(config).eval()


def naive_logits(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    """Logits (T, V) of one sequence by itself: no cache, no padding, no mask."""
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([list(tokens)]), use_cache=False).logits[0].float()
    return logits


def naive_logp(model: Any, prompt: Sequence[int], candidate: Sequence[int]) -> float:
    """Log p of a candidate behind a prompt, nats."""
    logp = naive_logits(model, [*prompt, *candidate]).log_softmax(-1)
    return float(sum(logp[len(prompt) + step - 1, token] for step, token in enumerate(candidate)))
