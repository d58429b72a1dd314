"""The tiny model of the tests of training, and rows for it."""

from __future__ import annotations

import pytest

pytest.importorskip("trl", reason='training needs pip install "robustft[train]"')
pytest.importorskip("peft", reason='training needs pip install "robustft[train]"')

import torch

from benchmarks.reliability.tiny import TEMPLATE, save_tiny
from robustft.data.train_rows import TrainRow
from robustft.records import Message

__all__ = ["TEMPLATE", "moods", "save_tiny"]

# models this small lose more to a second thread than they gain
torch.set_num_threads(1)


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
