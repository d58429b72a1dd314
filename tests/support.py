"""What several tests share: a small noisy file, and where the real data sets are."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from robustft.config import Config

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

MakeConfig = Callable[..., Config]


def write_moods(path: Path, n: int = 60, noise: float = 0.3, seed: int = 0) -> Path:
    """Write `n` rows with the options negative, neutral, positive; `noise` of the answers are wrong."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer", "options", "truth"])
        for i in range(n):
            truth = int(rng.integers(3))
            given = (truth + int(rng.integers(1, 3))) % 3 if rng.random() < noise else truth
            firm = f"{['quick', 'slow', 'red'][i % 3]} firm number {i * 7919}"
            question = f"Note {i}: the {firm} reported {rng.integers(10**6)}."
            writer.writerow([f"r{i}", question, "ABC"[given], '["negative", "neutral", "positive"]', "ABC"[truth]])
    return path
