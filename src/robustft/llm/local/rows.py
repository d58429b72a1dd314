"""Rows: token sequences of unequal length side by side in one tensor, and the beginning that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, PreTrainedModel

_WORTH = 256
"""Prompt tokens that sharing must save: below that the extra pass costs more."""


class Padded(NamedTuple):
    """Sequences that end in one column: token ids, mask (0 = padding) and position ids, each (B, T)."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor


def left_padded(sequences: Sequence[Sequence[int]], device: torch.device) -> Padded:
    """Put padding before each sequence, so that all end in the last column; positions count from 0."""
    import torch

    width = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[0] * (width - len(sequence)) + list(sequence) for sequence in sequences])
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    places = torch.arange(width) - (width - lengths)[:, None]
    return Padded(ids.to(device), (places >= 0).long().to(device), places.clamp(min=0).to(device))


def shared_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """Return how many first tokens all prompts share and are worth running once; 0 if none.

    At least the last token of each prompt is left out, so that every row still has one to run.
    """
    # all agree where the first and the last in order agree
    first, last = min(prompts), max(prompts)
    common = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    length = min(common, min(len(prompt) for prompt in prompts) - 1)
    return length if length * (len(prompts) - 1) >= _WORTH else 0


def prefilled(model: PreTrainedModel, prefix: Sequence[int], rows: int) -> DynamicCache:
    """Return the keys and values of `prefix`, repeated for each of `rows` rows; an empty cache for no prefix."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    if prefix:
        ids = torch.tensor([list(prefix)], device=model.device)
        model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(rows)
    return cache


def free_layout(model: PreTrainedModel) -> bool:
    """Whether the model sees a token's place only through its position id and the attention mask.

    Then padding may stand anywhere and branches may share a row. True for rotary positions with full attention in
    every layer; sliding windows, recurrent states and learned positions count the places of the row itself.
    """
    config = model.config.get_text_config(decoder=True)
    rotary = any(getattr(config, name, None) for name in ("rope_parameters", "rope_theta"))
    layers = getattr(config, "layer_types", None)
    full = set(layers) == {"full_attention"} if layers else getattr(config, "sliding_window", None) is None
    return rotary and full and not getattr(model, "_is_stateful", False) and not getattr(config, "alibi", False)
