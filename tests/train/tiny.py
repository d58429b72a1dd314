"""A tiny Llama with random weights, a tokenizer of bytes and a chat template, saved as a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("trl", reason='training needs pip install "robustft[train]"')
pytest.importorskip("peft", reason='training needs pip install "robustft[train]"')

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from robustft.data.train_rows import TrainRow
from robustft.records import Message

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|im_start|>", "<|im_end|>", "<pad>")

# models this small lose more to a second thread than they gain
torch.set_num_threads(1)


def save_tiny(folder: Path, template: str = TEMPLATE) -> Path:
    """Save a two-layer Llama in float32 whose answers end with <|im_end|>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<pad>", chat_template=template
    )
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(alphabet) + len(SPECIAL),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def moods(n: int) -> list[TrainRow]:
    """Return `n` rows of several lengths with one of three answers."""
    return [
        TrainRow(
            f"r{i}",
            (Message(role="user", content=f"Note {i}{' and so on' * (i % 4)}. Mood?"),),
            f"Answer: {'ABC'[i % 3]}",
            None,
            {},
        )
        for i in range(n)
    ]
